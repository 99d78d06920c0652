"""What the tests stand on: bare Erlang nodes, runs of the real command, small file systems."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import Child, StartChild
from commands import Begin, Ground, Run, wait_until
from disks import SmallDisk, small_disks
from images import erlang_image
from nodes import StartErlang, erlang_nodes


@pytest.fixture(scope="module")
def start_erlang() -> Iterator[StartErlang]:
    """``start_erlang(otp, *more_arguments)``: nodes live until the module's tests are over."""
    with erlang_nodes(erlang_image) as start:
        yield start


@pytest.fixture
def child() -> Iterator[StartChild]:
    """``child(job, runtime, options, number=...)``: see children.py."""
    started: list[Child] = []

    def start(job: str, runtime: str, *options: dict[str, Any], number: float = 0, **environment: str) -> Child:
        started.append(Child(job, runtime, *options, number=number, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disks(tmp_path) as small_disk:
        yield small_disk


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    found = Ground()
    yield found
    found.client.close()


@pytest.fixture
def begin(ground: Ground, tmp_path: Path) -> Iterator[Begin]:
    """Start runs, each in a folder of its own; whatever the test does, nothing of them stays."""
    runs: list[Run] = []
    numbers = itertools.count(1)

    def started(
        scenario: dict[str, Any], *arguments: str | Path, folder: Path | None = None, **environment: str
    ) -> Run:
        own = folder or tmp_path / str(next(numbers))
        own.mkdir(exist_ok=True)
        runs.append(Run(own, scenario, *arguments, **environment))
        return runs[-1]

    yield started
    for run in runs:
        run.signal(signal.SIGKILL)
        run.process.wait()
        if (run.out / "latest").exists():
            wait_until(lambda run=run: not ground.left(run) or ground.remove(run), "removal")  # type: ignore[misc]
