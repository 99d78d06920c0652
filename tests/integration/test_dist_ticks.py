"""Ticks, at any net_ticktime: kept through silence and stalls of our own, missed only where somebody is really gone.

A node counts the packets of each connection; that count, not a clock, says that a time of so many ticks has passed.
"""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from children import RUNTIMES, Child, StartChild, to
from commands import wait_until
from nodes import ErlangNode, StartErlang, asleep
from wires import wire

from harness.cluster.certificates import FLAGS, Authority, packed
from harness.dist import Connection
from harness.errors import ConnectionLost
from harness.etf import Atom

pytestmark = pytest.mark.docker

CHILD = "child@harness"
TICKS = 4  # of one ticktime: net_tickintensity of every node here


def ticking(ticktime: int) -> tuple[str, ...]:
    return ("-kernel", "net_ticktime", str(ticktime))


@pytest.fixture(scope="module")
def quick(start_erlang: StartErlang) -> list[tuple[int, ErlangNode]]:
    """Nodes and their ticktimes in seconds."""
    return [(2, start_erlang(27, *ticking(2))), (4, start_erlang(25, *ticking(4)))]


def counted(watcher: Connection, local: str) -> tuple[int, int]:
    """Packets that the node has received from and sent to ``local``; ticks are packets, too."""
    controllers = dict(watcher.erpc("erlang", "system_info", [Atom("dist_ctrl")]))
    assert local in controllers, f"the node has dropped {local}"
    _, counts = watcher.erpc("inet", "getstat", [controllers[Atom(local)], [Atom("recv_cnt"), Atom("send_cnt")]])
    return dict(counts)["recv_cnt"], dict(counts)["send_cnt"]


def known(watcher: Connection, local: str) -> bool:
    return local in watcher.rpc("erlang", "nodes", [Atom("hidden")])


def test_silence_of_three_ticktimes(quick: list[tuple[int, ErlangNode]]) -> None:
    """Whoever leaves `ticktime` at Erlang's default is not thrown out by a node of four seconds either."""
    watchers = [node.connect(local="watcher@harness", ticktime=ticktime) for ticktime, node in quick]
    idle = [node.connect(local="idle@harness", ticktime=ticktime) for ticktime, node in quick]
    idle.append(quick[1][1].connect(local="unaware@harness", ticktime=60.0))
    crowd = [quick[1][1].connect(local=f"crowd{n}@harness", ticktime=4.0) for n in range(100)]
    sides = [(watchers[0], "idle@harness"), (watchers[1], "idle@harness"), (watchers[1], "unaware@harness")]
    since = [counted(*side) for side in sides]

    def outlived() -> bool:
        now = [counted(*side) for side in sides]
        sent = all(n[1] - s[1] >= 3 * TICKS for n, s in zip(now, since, strict=True))
        return sent and all(n[0] - s[0] >= 3 * TICKS for n, s in zip(now[:2], since[:2], strict=True))

    wait_until(outlived, "three ticktimes")
    for connection in (*idle, *crowd):
        assert connection.rpc("erlang", "abs", [-1]) == 1
    for connection in (*idle, *crowd, *watchers):
        connection.close()


def test_a_peer_that_ticks_every_half_hour(start_erlang: StartErlang) -> None:
    node = start_erlang(27, *ticking(7200))
    connection = node.connect(ticktime=7200.0)
    assert connection.rpc("erlang", "abs", [-1]) == 1
    node.container.kill("SIGKILL")
    wait_until(lambda: connection.closed, "the end of the stream")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_our_process_computes_longer_than_two_ticktimes(
    quick: list[tuple[int, ErlangNode]], child: StartChild, runtime: str
) -> None:
    """In greenlets nothing else of the process's Python runs in that time."""
    ticktime, node = quick[1]
    told = child("spin", runtime, to(node, ticktime=ticktime), number=2.25 * ticktime).told()
    assert told == {"after": "ok", "waiting": ["ok"], "closed": False}


def test_our_process_computes_while_a_tls_peer_waits(start_erlang: StartErlang, child: StartChild) -> None:
    authority = Authority()
    ours = authority.credentials("harness")

    def prepare(container: Any, host: str) -> None:
        container.put_archive("/", packed(authority.credentials(host)))

    node = start_erlang(27, *ticking(4), *FLAGS.split(), prepare=prepare, tls=ours.client_context())
    one = child("spin", "greenlets", to(node, ticktime=4, tls=ours.told()), number=9)
    assert one.told() == {"after": "ok", "waiting": ["ok"], "closed": False}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_connection_that_is_stuck_in_writing_holds_up_no_other(
    quick: list[tuple[int, ErlangNode]], child: StartChild, runtime: str
) -> None:
    """One peer does not read, and may for hours; the other has to see ticks while our process computes."""
    ticktime, node = quick[1]
    with wire(node) as held:
        patient = to(node, host="127.0.0.1", port=held.port, local="stuck@harness", ticktime=3600)
        one = child("spin", runtime, to(node, ticktime=ticktime), patient, number=2.25 * ticktime)
        assert one.told() == {"ready": True}
        held.hold()
        one.go_on()
        assert one.told() == {"after": "ok", "waiting": ["ok"], "closed": False}


def waiting(child: StartChild, runtime: str, node: ErlangNode, ticktime: int, watcher: Connection) -> Child:
    """A child whose call is at work on the node."""
    before = asleep(watcher)
    one = child("stopped", runtime, to(node, ticktime=ticktime))
    wait_until(lambda: asleep(watcher) == before + 1, "the child's call")
    return one


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_our_process_is_stopped_longer_than_the_ticktime(
    quick: list[tuple[int, ErlangNode]], child: StartChild, runtime: str
) -> None:
    ticktime, node = quick[1]
    watcher = node.connect(local="watcher@harness", ticktime=ticktime)
    one = waiting(child, runtime, node, ticktime, watcher)
    one.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not known(watcher, CHILD), "the node's own net tick timeout")
    one.process.send_signal(signal.SIGCONT)
    told = one.told()
    assert (told["waited"], told["after"]) == ("ConnectionLost", "NotSent")
    assert told["cause"]
    watcher.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_paused_node_is_noticed_and_not_too_early(
    quick: list[tuple[int, ErlangNode]], child: StartChild, runtime: str
) -> None:
    ticktime, node = quick[1]
    watcher = node.connect(local="watcher@harness", ticktime=3600.0)
    one = waiting(child, runtime, node, ticktime, watcher)
    watcher.close()
    before = time.monotonic()
    node.container.pause()
    try:
        told = one.told()
        assert time.monotonic() - before >= ticktime / 2  # its last tick was a quarter old, or was late itself
    finally:
        node.container.unpause()
    assert (told["waited"], told["after"]) == ("ConnectionLost", "NotSent")
    assert "silent" in told["cause"]


def test_a_node_that_is_paused_while_we_write_to_it(quick: list[tuple[int, ErlangNode]]) -> None:
    ticktime, node = quick[1]
    connection = node.connect(local="writer@harness", ticktime=ticktime)
    node.container.pause()
    try:
        with pytest.raises(ConnectionLost):
            connection.rpc("erlang", "byte_size", [bytes(20_000_000)], timeout=60)
    finally:
        node.container.unpause()
