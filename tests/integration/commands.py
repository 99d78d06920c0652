"""The real command as a child process, and what a run of it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from harness.history import FaultRecord, JournalEvent, Mark, read_events
from harness.store import RunDir

PATIENCE = 240.0  # seconds; what is waited for comes in a few, on a machine that is not busy
POLL = 0.05
EXPOSED = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.2"
"""An address of this host that nobody else uses, for what has to be at a port that everybody knows."""

Event = Callable[[JournalEvent], bool]


def tiny(**changes: Any) -> dict[str, Any]:
    """Two nodes, four users, a cut of a second; a change replaces a whole top-level key, None drops it."""
    scenario = {
        "name": "tiny",
        "cluster": {
            "nodes": 2,
            "kernel": {"net_ticktime": 4},
            "mnesia": {"tables": {"kv": {"ram_copies": "all"}}},
        },
        "load": {
            "users": 4,
            "rate": "50/s",
            "operations": [
                {"rpc": {"module": "node_echo", "function": "echo", "args": [":hello", 1]}},
                {"write": {"table": "kv", "context": "transaction"}},
            ],
        },
        "timeline": [{"at": "500ms", "for": "500ms", "partition": {"groups": [["n1"], ["n2"]]}}],
        "duration": "3s",
        **changes,
    }
    return {key: value for key, value in scenario.items() if value is not None}


LONG_CUT = {
    "timeline": [{"at": "100ms", "for": "600s", "partition": {"groups": [["n1"], ["n2"]]}}],
    "duration": "900s",
}
"""For runs that never come to their end."""


def phase(name: str) -> Event:
    return lambda event: isinstance(event, Mark) and event.name == "phase" and event.detail["phase"] == name


def mark(name: str) -> Event:
    return lambda event: isinstance(event, Mark) and event.name == name


def stage(name: str) -> Event:
    return lambda event: isinstance(event, FaultRecord) and event.stage == name


def wait_until(what: Callable[[], Any], told: str, patience: float = PATIENCE) -> Any:
    """The first true value."""
    deadline = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < deadline, f"{told}: not within {patience:g} s"
        time.sleep(POLL)
    return found


class Command:
    """``harness <arguments>`` in a folder and a process group of its own, as a terminal starts it."""

    def __init__(self, folder: Path, *arguments: str | Path, **environment: str) -> None:
        self.out = folder / "runs"
        self._said = [folder / f"{time.monotonic_ns()}.{stream}" for stream in ("stdout", "stderr")]
        environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "HARNESS_DEBUG")} | environment
        environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        with self._said[0].open("wb") as out, self._said[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness", *map(str, arguments)],
                cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def stdout(self) -> str:
        return self._said[0].read_text()

    @property
    def stderr(self) -> str:
        return self._said[1].read_text()

    def signal(self, number: int) -> None:
        """To the whole group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> int:
        return self.process.wait(PATIENCE)

    def error(self) -> str:
        """The one line it ended with."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("harness: ")]
        assert len(lines) == 1, self.stderr + self.stdout
        assert "Traceback" not in self.stderr
        return lines[0]


class Run(Command):
    """``harness run FILE`` of one scenario: a file written here, or the name of a shipped one."""

    def __init__(
        self, folder: Path, scenario: dict[str, Any] | str, *arguments: str | Path, **environment: str
    ) -> None:
        if isinstance(scenario, str):
            file = Path(scenario)
        else:
            file = folder / f"{scenario.get('name', 'scenario')}.yml"
            file.write_text(json.dumps(scenario))
        super().__init__(folder, "run", file, *arguments, **environment)
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """The run's folder, as soon as it is there."""
        if self._folder is None:
            latest = self.out / "latest"
            self._folder = self._wait(lambda: latest.resolve() if latest.exists() else None, "run folder")
        return self._folder

    def _wait(self, what: Callable[[], Any], told: str) -> Any:
        """The first true value; a run that ends without it is an error."""

        def looked() -> Any:
            ended = self.process.poll() is not None
            found = what()
            assert found or not ended, f"{told}: ended with {self.process.returncode}: {self.stdout}{self.stderr}"
            return found

        return wait_until(looked, told)

    @property
    def id(self) -> str:
        return self.folder.name.rsplit("-", 1)[1]

    def events(self) -> tuple[JournalEvent, ...]:
        return read_events((self.folder / "events.jsonl").read_text().splitlines())

    def wait_for(self, wanted: Event) -> JournalEvent:
        """The first such event in the journal."""
        found: JournalEvent = self._wait(lambda: next(filter(wanted, self.events()), None), "event")
        return found

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def watchdog(self) -> int:
        """Its pid: the one process of this run that leads a session and was started with the run's folder."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"harness.faults.watchdog" in words and str(self.folder).encode() in words:
                    return int(path.parent.name)
        raise AssertionError("no watchdog")

    def metrics_port(self) -> int:
        found = re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", self.stdout)
        assert found is not None, self.stdout
        return int(found[1])

    def scraped(self) -> str:
        """What the run serves to Prometheus now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port()}/metrics", timeout=60) as answer:
            told: str = answer.read().decode()
        return told

    def children(self) -> list[tuple[int, str]]:
        """Recorded ones that live."""
        return list(RunDir.open(self.folder).recorded_children())


Begin = Callable[..., Run]


class Ground:
    """The engine as a test sees it."""

    def __init__(self) -> None:
        self.client = docker.from_env()

    def containers(self, run_id: str, role: str = "") -> list[Any]:
        wanted = [f"harness.run={run_id}", *([f"harness.role={role}"] if role else [])]
        return self.client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)  # type: ignore[no-any-return]

    def container(self, run_id: str, role: str, node: str) -> Any:
        wanted = [f"harness.run={run_id}", f"harness.role={role}", f"harness.node={node}"]
        (found,) = self.client.containers.list(filters={"label": wanted})
        return found

    def left(self, run: Run) -> list[str]:
        """What of a run is still there: containers, networks, processes."""
        label = {"label": f"harness.run={run.id}"}
        left = [str(one.name) for one in (*self.containers(run.id), *self.client.networks.list(filters=label))]
        return left + [role for _, role in run.children()]

    def remove(self, run: Run) -> None:
        """As far as nobody else is at it: its watchdog may be."""
        for container in self.containers(run.id):
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)
        for network in self.client.networks.list(filters={"label": f"harness.run={run.id}"}):
            with contextlib.suppress(APIError):
                network.remove()


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
