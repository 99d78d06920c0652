"""A connection that ends: everybody who waits is told, at once, and the way back is open."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from commands import wait_until
from nodes import ErlangNode, StartErlang, asleep
from wires import wire

from harness.dist import Connection
from harness.errors import ConnectionLost, HarnessError, NotSent
from harness.etf import Atom

pytestmark = pytest.mark.docker

CALLERS = 50


class Waiting:
    """CALLERS calls that the node will not answer, half of them rpc, half erpc; what became of them."""

    def __init__(self, watcher: Connection, link: Connection) -> None:
        self.outcomes: list[Any] = []
        before = asleep(watcher)
        self._threads = [
            threading.Thread(target=self._wait, args=(link.rpc if index % 2 else link.erpc,), daemon=True)
            for index in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: asleep(watcher) == before + CALLERS, "every call at work on the node")

    def _wait(self, call: Callable[..., Any]) -> None:
        try:
            self.outcomes.append(call("timer", "sleep", [Atom("infinity")], timeout=None))
        except HarnessError as error:
            self.outcomes.append(error)

    def told(self) -> Counter[type]:
        for thread in self._threads:
            thread.join(120)
        return Counter(map(type, self.outcomes))


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    """Its ticks are of no use to anybody here: nothing is noticed by a silence."""
    return start_erlang(request.param, "-kernel", "net_ticktime", "3600")


def test_a_killed_node_and_its_return(node: ErlangNode) -> None:
    lost: list[HarnessError] = []
    link = node.connect(local="caller@harness", ticktime=3600.0, on_close=lost.append)
    watcher = node.connect(local="watcher@harness", ticktime=3600.0)
    waiting = Waiting(watcher, link)
    node.container.kill("SIGKILL")
    assert waiting.told() == {ConnectionLost: CALLERS}
    wait_until(lambda: len(lost) == 1, "on_close")
    for call in (link.rpc, link.erpc, link.cast):
        with pytest.raises(NotSent):
            call("erlang", "abs", [1])
    with pytest.raises(NotSent):
        node.connect(local="caller@harness", timeout=2.0)
    node.container.start()
    node.wait_ready()
    again = node.connect(local="caller@harness")
    assert again.rpc("erlang", "abs", [-1]) == 1
    again.close()
    watcher.close()


def test_we_close_while_others_wait(node: ErlangNode) -> None:
    link = node.connect(local="caller@harness", ticktime=3600.0)
    watcher = node.connect(local="watcher@harness", ticktime=3600.0)
    waiting = Waiting(watcher, link)
    link.close()
    assert waiting.told() == {ConnectionLost: CALLERS}
    wait_until(lambda: watcher.rpc("erlang", "nodes", [Atom("hidden")]) == ["watcher@harness"], "the node's end of it")
    watcher.close()


def test_the_node_disconnects_us(node: ErlangNode) -> None:
    link = node.connect(local="caller@harness", ticktime=3600.0)
    watcher = node.connect(local="watcher@harness", ticktime=3600.0)
    waiting = Waiting(watcher, link)
    assert watcher.rpc("erlang", "disconnect_node", [Atom("caller@harness")]) is True
    assert waiting.told() == {ConnectionLost: CALLERS}
    watcher.close()


def test_the_node_still_holds_a_connection_of_ours_that_is_dead(node: ErlangNode) -> None:
    """It says ``alive``; we know better, and the old connection's late answers must not meet the new one's calls."""
    with wire(node) as cut:
        old = node.connect(host="127.0.0.1", port=cut.port, local="twice@harness", ticktime=3600.0)
        assert old.rpc("erlang", "abs", [-1]) == 1
        cut.hold()
        old.close()
        new = node.connect(local="twice@harness", ticktime=3600.0)
        assert [new.rpc("erlang", "abs", [-n]) for n in range(50)] == list(range(50))
        wait_until(lambda: new.rpc("erlang", "nodes", [Atom("hidden")]) == ["twice@harness"], "the old one's end there")
        new.close()


def test_both_sides_hold_a_connection_that_is_dead(node: ErlangNode) -> None:
    with wire(node) as cut:
        old = node.connect(host="127.0.0.1", port=cut.port, local="twice@harness", ticktime=3600.0)
        cut.hold()
        new = node.connect(local="twice@harness", ticktime=3600.0)
        assert new.erpc("erlang", "abs", [-1]) == 1
        old.close()
        assert new.erpc("erlang", "abs", [-1]) == 1
        new.close()
