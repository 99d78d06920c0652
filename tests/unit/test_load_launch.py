"""Ending load's children, as far as it needs no Locust."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plans import three_nodes

from harness.errors import InternalError, Interrupted
from harness.load import launch
from harness.load.channel import Channel
from harness.load.launch import LoadRun
from harness.store import RunDir


class Interrupting(Channel):
    """Ctrl-C comes while the first message is sent."""

    sent = 0

    def send(self, message: dict[str, Any]) -> bool:
        self.sent += 1
        if self.sent == 1:
            raise Interrupted(signal.SIGINT)
        return super().send(message)


def test_an_interrupted_stop_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_GRACE", 0.1)
    rundir = RunDir.create(tmp_path, three_nodes())
    load = LoadRun(three_nodes(), [], "cookie", rundir)
    ours, theirs = socket.socketpair()
    channel = load._channel = Interrupting(ours)
    child = load._children._processes["master"] = subprocess.Popen(["sleep", "60"])
    with theirs:
        with pytest.raises(Interrupted):
            load.stop()
        assert child.poll() is None
        load.stop(0)
        assert child.poll() == -signal.SIGKILL
        load.stop(0)
        assert channel.sent == 2, "what was stopped to its end is not stopped again"
    rundir.close()


class Heard(LoadRun):
    """A run with one worker, to which the master's words come from the test."""

    def __init__(self, folder: Path, **told: Any) -> None:
        self.rundir = RunDir.create(folder, three_nodes())
        super().__init__(three_nodes(), [], "cookie", self.rundir, **told)
        ours, theirs = socket.socketpair()
        self.master_end = Channel(theirs)
        self._workers = {"w1"}
        self._channel = Channel(ours)
        self._listener = threading.Thread(target=self._listen, args=(self._channel,))
        self._listener.start()

    def event(self, name: str, **detail: Any) -> None:
        self.master_end.send({"type": "event", "time": 1, "name": name, "detail": detail})


@pytest.fixture
def hears(tmp_path: Path) -> Iterator[Callable[..., Heard]]:
    made: list[Heard] = []

    def make(**told: Any) -> Heard:
        made.append(Heard(tmp_path / str(len(made)), **told))
        return made[-1]

    yield make
    for run in made:
        run.master_end.send({"type": "done"})
        run.stop(1.0)
        run.rundir.close()


def test_load_has_ended_when_the_last_worker_falls_silent(hears: Callable[..., Heard]) -> None:
    run = hears()
    run.event("worker_joined", worker="w2")
    run.master_end.send({"type": "full_load", "time": 0})
    run.event("worker_silent", worker="w1", cause="no heartbeat")
    run.event("worker_returned", worker="w1")
    run.event("worker_silent", worker="w2", cause="no heartbeat")
    assert run.wait_full_load() == 0
    run.event("worker_silent", worker="w1", cause="no heartbeat")
    trouble = run.wait_trouble(60.0)
    assert str(trouble) == "load: no worker is left (w1: no heartbeat)"


def test_one_worker_of_two_is_enough(hears: Callable[..., Heard]) -> None:
    seen: list[str] = []
    over = threading.Event()
    run = hears(on_event=lambda event: (seen.append(event.name), over.set() if event.name == "over" else None))
    run.master_end.send({"type": "full_load", "time": 0})
    for name, worker in (("worker_joined", "w2"), ("worker_lost", "w1"), ("over", "")):
        run.event(name, worker=worker, cause="it left")
    assert over.wait(60.0)
    assert run.wait_trouble(0.0) is None
    assert seen == ["worker_joined", "worker_lost", "over"]


def test_who_cannot_take_figures_ends_the_run(hears: Callable[..., Heard]) -> None:
    """And not the thread that listens, after which nobody would hear of anything."""

    def ingest(snapshot: dict[str, Any]) -> None:
        raise KeyError("worker")

    run = hears(on_snapshot=ingest)
    run.master_end.send({"type": "snapshot", "snapshot": {}})
    assert isinstance(run.wait_trouble(60.0), InternalError)
    run.event("disk_full", worker="w1", cause="no space")  # and is heard all the same


def test_what_a_process_said_last_is_told(tmp_path: Path) -> None:
    log = tmp_path / "locust-w1.log"
    assert launch._last_words(log) == "its log cannot be read"
    log.write_text("Traceback:\n  File x\nModuleNotFoundError: No module named 'x'\n\n")
    assert launch._last_words(log) == "ModuleNotFoundError: No module named 'x'"
