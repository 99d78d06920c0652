"""Ending load's children, as far as it needs no Locust."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from plans import three_nodes

from harness.errors import Interrupted
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
