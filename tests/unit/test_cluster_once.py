"""A container for one question is removed whatever happens while it is asked."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from docker.errors import NotFound

from harness.cluster.once import ask
from harness.errors import Interrupted


class Docker:
    """The engine's client, its api and its only container in one; ``interrupts`` names the step a signal comes in."""

    def __init__(self, interrupts: str) -> None:
        self.client = self.api = self.containers = self
        self.interrupts = interrupts
        self.there: set[str] = set()

    def _step(self, name: str) -> None:
        if name == self.interrupts:
            raise Interrupted(signal.SIGINT)

    def create(self, _image: str, _command: list[str], *, name: str) -> Docker:
        self._step("before create")
        self.there.add(name)
        self._step("create")
        return self

    def start(self) -> None:
        self._step("start")

    def wait(self) -> None:
        self._step("wait")

    def logs(self, *, stdout: bool, stderr: bool) -> bytes:
        assert (stdout, stderr) == (True, False)
        return b"said"

    def remove_container(self, name: str, *, force: bool, v: bool) -> None:
        assert force
        assert v
        if name not in self.there:
            raise NotFound("no such container")
        self.there.remove(name)


@pytest.mark.parametrize("at", ["before create", "create", "start", "wait"])
def test_interrupted(at: str) -> None:
    engine: Any = Docker(at)
    with pytest.raises(Interrupted):
        ask(engine, "image", ["true"])
    assert not engine.there


def test_answered() -> None:
    engine: Any = Docker("never")
    assert ask(engine, "image", ["true"]) == b"said"
    assert not engine.there
