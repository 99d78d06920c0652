"""Nodes of ours among themselves: over streams in memory, and over loopback with a door and an EPMD of the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from memory import MemoryNetwork

from harness.dist import Down, Exit, Node, NodeDown, NodeUp
from harness.errors import (
    CallTimeout,
    ConnectionLost,
    EncodeError,
    HandshakeRefused,
    HarnessError,
    MailboxClosed,
    NotSent,
    ReceiveTimeout,
    RemoteError,
    UsageError,
)
from harness.etf import Atom, Pid, Reference

WAIT = 60.0


def until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(WAIT * 200)):
        if condition():
            return
        waited.wait(0.005)
    raise AssertionError("did not come about")


@contextmanager
def nodes(**changes: Any) -> Iterator[tuple[Node, Node]]:
    """Two that know each other over loopback."""
    with Node("a@here", "c", **changes) as a, Node("b@here", "c", **changes) as b:
        port = b.listen(register=False)
        a.connect("b@here", host="127.0.0.1", port=port)
        until(lambda: "a@here" in b.connections)
        yield a, b


def test_messages_by_pid_name_and_alias() -> None:
    with nodes() as (a, b), a.mailbox() as one, b.mailbox("two") as two:
        one.send(("two", "b@here"), (one.pid, [1, 2.5, "text"]))
        sender, body = two.receive(WAIT)
        assert (sender, body) == (one.pid, [1, 2.5, b"text"])
        two.send(sender, Atom("hello"))
        assert one.receive(WAIT) == "hello"
        alias = one.alias()
        two.send(alias, 1)
        assert one.receive(WAIT) == 1
        assert one.unalias(alias)
        assert not one.unalias(alias)
        two.send(alias, 2)
        two.send(one.pid, 3)
        assert one.receive(WAIT) == 3
        one.send(("nobody", "b@here"), 1)  # as in Erlang: nothing happens
        with pytest.raises(NotSent, match="c@here: send: not connected"):
            one.send(("x", "c@here"), 1)
        with pytest.raises(UsageError):
            one.send("two", 1)  # type: ignore[arg-type]
        with pytest.raises(EncodeError):
            one.send(two.pid, object())


def test_messages_within_a_node_are_copies() -> None:
    with Node("a@here", "c") as a, a.mailbox() as one, a.mailbox("two") as two:
        sent = [1]
        one.send(two.pid, sent)
        one.send(("two", "a@here"), "text")
        sent.append(2)
        assert two.receive(WAIT) == [1]
        assert two.receive(WAIT) == b"text"
        two.send(one.alias(), 1)
        assert one.receive(WAIT) == 1
        with pytest.raises(EncodeError):
            one.send(two.pid, object())


def test_receive() -> None:
    with Node("a@here", "c") as a, a.mailbox() as box:
        for number in range(5):
            box.send(box.pid, number)
        assert box.receive(WAIT, lambda message: message == 3) == 3
        assert box.receive(WAIT, lambda message: message == 1) == 1
        assert [box.receive(WAIT) for _ in range(3)] == [0, 2, 4]
        with pytest.raises(ReceiveTimeout, match=r"a@here: receive: nothing that matches within 0\.01 s"):
            box.receive(0.01)
        with pytest.raises(ReceiveTimeout):
            box.receive(0)
        errors: list[HarnessError] = []

        def receive() -> None:
            try:
                box.receive(WAIT)
            except HarnessError as error:
                errors.append(error)

        waiting = threading.Thread(target=receive)
        waiting.start()
        until(lambda: not box._receiving.acquire(False) or bool(box._receiving.release()))
        with pytest.raises(UsageError, match="another receives"):
            box.receive(WAIT)
        box.send(box.pid, 1)
        waiting.join(WAIT)
        assert not errors
        box.send(box.pid, 2)
        box.close()
        box.send(box.pid, 3)
        assert box.receive(WAIT) == 2  # what had arrived
        with pytest.raises(MailboxClosed):
            box.receive()


def test_names_are_unique() -> None:
    with Node("a@here", "c") as a:
        first = a.mailbox("x")
        with pytest.raises(UsageError, match="the name x is taken"):
            a.mailbox("x")
        with pytest.raises(UsageError):
            a.mailbox("net_kernel")
        first.close()
        a.mailbox("x")


def test_monitors() -> None:
    with nodes() as (a, b), a.mailbox() as one:
        two, three = b.mailbox("two"), b.mailbox()
        by_name, by_pid, taken_back = one.monitor(("two", "b@here")), one.monitor(two.pid), one.monitor(two.pid)
        one.demonitor(taken_back)
        until(lambda: set(two.bonds._watchers) == {by_name, by_pid})
        two.close(Atom("done"))
        downs = {message.ref: message for message in (one.receive(WAIT), one.receive(WAIT))}
        assert downs == {
            by_name: Down(by_name, (Atom("two"), Atom("b@here")), Atom("done")),
            by_pid: Down(by_pid, two.pid, Atom("done")),
        }
        gone = one.monitor(two.pid)
        assert one.receive(WAIT) == Down(gone, two.pid, Atom("noproc"))
        gone = one.monitor(("two", "b@here"))
        assert one.receive(WAIT).reason == "noproc"
        far = one.monitor(("x", "c@here"))
        assert one.receive(WAIT) == Down(far, (Atom("x"), Atom("c@here")), Atom("noconnection"))
        lost = one.monitor(three.pid)
        until(lambda: lost in three.bonds._watchers)
        b.close()
        assert one.receive(WAIT) == Down(lost, three.pid, Atom("noconnection"))
        own = a.mailbox()
        ref = one.monitor(own.pid)
        own.close()
        assert one.receive(WAIT) == Down(ref, own.pid, Atom("normal"))
        flushed = one.monitor(own.pid)
        one.demonitor(flushed, flush=True)
        with pytest.raises(ReceiveTimeout):
            one.receive(0)


def test_links_and_exits() -> None:
    with nodes() as (a, b), a.mailbox() as one:
        two, three, four = b.mailbox(), b.mailbox(), b.mailbox()
        one.link(two.pid)
        one.link(two.pid)
        until(lambda: two.bonds.linked() == [one.pid])
        two.close((Atom("why"), 1))
        assert one.receive(WAIT) == Exit(two.pid, (Atom("why"), 1))
        one.link(two.pid)
        assert one.receive(WAIT) == Exit(two.pid, Atom("noproc"))
        one.link(three.pid)
        until(lambda: three.bonds.linked() == [one.pid])
        three.unlink(one.pid)
        until(lambda: not one.bonds.linked())
        one.link(three.pid)
        until(lambda: three.bonds.linked() == [one.pid])
        one.exit(four.pid, Atom("stop"))
        assert four.receive(WAIT) == Exit(one.pid, Atom("stop"))
        watch = one.monitor(four.pid)
        until(lambda: watch in four.bonds._watchers)
        one.exit(four.pid, Atom("kill"))
        assert one.receive(WAIT) == Down(watch, four.pid, Atom("killed"))
        with pytest.raises(MailboxClosed):
            four.receive(WAIT)
        one.link(Pid(Atom("c@here"), 1, 0, 1))
        assert one.receive(WAIT).reason == "noconnection"
        with pytest.raises(EncodeError):
            one.exit(three.pid, object())
        with pytest.raises(EncodeError):
            one.close(object())
        a.connections["b@here"].close()
        assert one.receive(WAIT) == Exit(three.pid, Atom("noconnection"))
        assert three.receive(WAIT) == Exit(one.pid, Atom("noconnection"))


def test_spawn_is_refused_and_calls_too() -> None:
    with nodes() as (a, b), a.mailbox() as one:
        for node in ("b@here", "a@here"):
            with pytest.raises(RemoteError, match="notsup") as refused:
                one.spawn(node, "lists", "seq", [1, 2], monitor=True)
            assert refused.value.klass == "error"
        link = a.connections["b@here"]
        for call in (link.rpc, link.erpc):
            with pytest.raises(RemoteError, match="notsup"):
                call("lists", "seq", [1, 2])
        assert a.ping("b@here") < WAIT
        assert b.ping("a@here") < WAIT
        with pytest.raises(NotSent):
            one.spawn("c@here", "m", "f")


def test_events_and_loss() -> None:
    events: list[Any] = []
    told: list[HarnessError] = []
    with Node("a@here", "c") as a, Node("b@here", "c", hidden=False) as b, b.mailbox() as watcher:
        a.subscribe(events.append)
        b.subscribe(watcher.deliver)
        port = b.listen(register=False)
        link = a.connect("b@here", host="127.0.0.1", port=port, on_close=told.append)
        assert a.connect("b@here") is link
        assert events == [NodeUp("b@here", hidden=False)]
        assert watcher.receive(WAIT) == NodeUp("a@here", hidden=True)
        b.close()
        until(lambda: bool(told))
        assert [type(event) for event in events] == [NodeUp, NodeDown]
        assert not a.connections
        assert link.closed
        a.unsubscribe(events.append)
        with pytest.raises(NotSent, match="closed"):
            b.connect("a@here")
        with pytest.raises(NotSent, match="closed"):
            b.mailbox()
        assert type(watcher.receive(WAIT)) is NodeDown
        with pytest.raises(MailboxClosed):
            watcher.receive(WAIT)


def test_a_second_connection_under_a_name_takes_the_place_of_the_first() -> None:
    lost: list[HarnessError] = []
    with Node("b@here", "c") as b, Node("a@here", "c") as old, Node("a@here", "c") as new:
        port = b.listen(register=False)
        with b.mailbox("box") as box, old.mailbox() as first, new.mailbox() as second:
            events: list[Any] = []
            b.subscribe(events.append)
            old.connect("b@here", host="127.0.0.1", port=port, on_close=lost.append)
            first.send(("box", "b@here"), first.pid)
            ref = box.monitor(box.receive(WAIT))
            new.connect("b@here", host="127.0.0.1", port=port)
            assert box.receive(WAIT) == Down(ref, first.pid, Atom("noconnection"))
            second.send(("box", "b@here"), second.pid)
            assert box.receive(WAIT) == second.pid
            box.send(first.pid, "lost")  # to the incarnation that is gone
            box.send(second.pid, "found")
            assert second.receive(WAIT) == b"found"
            until(lambda: len(lost) == 1)
            until(lambda: [type(event) for event in events] == [NodeUp, NodeDown, NodeUp])


def test_a_name_that_is_given() -> None:
    with Node("b@here", "c") as b, Node("there", "c") as nameless, Node("lab", "c") as hosted:
        with pytest.raises(UsageError, match="no name yet"):
            nameless.mailbox()
        port = b.listen(register=False)
        for node, host in ((nameless, "there"), (hosted, "lab")):
            node.connect("b@here", host="127.0.0.1", port=port)
            assert node.name.partition("@")[2] == host
            with node.mailbox() as box:
                assert box.pid.node == node.name
            assert node.ping("b@here") < WAIT
            assert b.ping(node.name) < WAIT


def test_names_that_are_given_are_given_again() -> None:
    """Nodes that hear of a name keep it for good: no more of them than there are nodes without a name at once."""
    seen: list[str] = []
    creations: set[int] = set()

    def come(port: int, cookie: str = "c") -> Node:
        nameless = Node("there", cookie)
        nameless.connect("b@here", host="127.0.0.1", port=port)
        seen.append(nameless.name)
        creations.add(nameless._links.identity.creation)
        return nameless

    with Node("b@here", "c") as b:
        port = b.listen(register=False)
        for _ in range(5):
            one = come(port)
            two = come(port)
            for node in (one, two):
                node.close()
            until(lambda: not b.connections)
            with pytest.raises(HandshakeRefused):
                come(port, "wrong")
        with Node("lab", "c") as elsewhere:
            elsewhere.connect("b@here", host="127.0.0.1", port=port)
            assert elsewhere.name.endswith("@lab")
    assert len(set(seen)) <= 3  # the third: of a refused one whose end is not seen yet
    assert all(first != second for first, second in zip(seen[::2], seen[1::2], strict=True))
    assert len(creations) == 10


def test_a_ping_that_is_not_answered() -> None:
    with nodes() as (a, b):
        b._links.exchange._processes.handle = lambda *_: None  # type: ignore[union-attr,method-assign]  # deaf
        with pytest.raises(CallTimeout, match=r"^b@here: ping: no answer within 0\.01 s$"):
            a.ping("b@here", 0.01)


def test_refusals() -> None:
    with Node("b@here", "right") as b, Node("a@here", "wrong") as a:
        port = b.listen(register=False)
        with pytest.raises(HandshakeRefused) as refused:
            a.connect("b@here", host="127.0.0.1", port=port)
        assert refused.value.reason == "cookie"
        with pytest.raises(HandshakeRefused, match="is b@here"):
            a.connect("x@here", host="127.0.0.1", port=port)
        assert not a._links._attempts
        for name in ("", "@", "a@"):
            with pytest.raises(UsageError, match="no node name"):
                a.connect(name)
            with pytest.raises(UsageError, match="no node name"):
                Node(name, "c")
        with pytest.raises(NotSent):
            a.listen("203.0.113.1", register=False)


def test_a_connection_lost_while_a_spawn_waits() -> None:
    outcomes: list[HarnessError] = []
    with nodes() as (a, b), a.mailbox() as one:
        b._links.exchange._processes.handle = lambda *_: None  # type: ignore[union-attr,method-assign]  # deaf

        def spawn(timeout: float) -> None:
            try:
                one.spawn("b@here", "m", "f", timeout=timeout)
            except HarnessError as error:
                outcomes.append(error)

        spawn(0.01)
        waiting = threading.Thread(target=spawn, args=(WAIT,))
        waiting.start()
        until(lambda: len(a._links.exchange._processes.spawnings) == 2)  # type: ignore[union-attr]
        b.close()
        waiting.join(WAIT)
        assert [type(outcome) for outcome in outcomes] == [CallTimeout, ConnectionLost]
        assert not a._links.exchange._processes.spawnings  # type: ignore[union-attr]


@pytest.mark.parametrize("piece", [1, 7, 1 << 18])
def test_everything_goes_over_streams_in_memory(piece: int) -> None:
    """Handshake, messages, monitors, links, exits, aliases, refused spawns and calls, however the bytes are cut."""
    network = MemoryNetwork(piece=piece)
    with Node("a@here", "c", runtime=network) as a, Node("b@here", "c", runtime=network, hidden=False) as b:
        a.connect("b@here", host="x", port=b.listen("x", register=False))
        with a.mailbox() as one, b.mailbox("two") as two:
            one.send(("two", "b@here"), (one.pid, b"x" * 10_000))
            assert two.receive(WAIT) == (one.pid, b"x" * 10_000)
            two.send(one.alias(), 1)
            assert one.receive(WAIT) == 1
            ref = one.monitor(two.pid)
            one.link(two.pid)
            two.exit(one.pid, Atom("a_signal"))
            assert one.receive(WAIT) == Exit(two.pid, Atom("a_signal"))
            with pytest.raises(RemoteError, match="notsup"):
                one.spawn("b@here", "m", "f", [1], link=True)
            assert b.ping("a@here") < WAIT
            two.close(Atom("over"))
            got = [one.receive(WAIT), one.receive(WAIT)]
            assert Down(ref, two.pid, Atom("over")) in got
            assert Exit(two.pid, Atom("over")) in got


@pytest.mark.parametrize("names", [("a@here", "b@here"), ("b@here", "a@here")])
def test_both_dial_at_the_same_moment(names: tuple[str, str]) -> None:
    """Each has begun when the other's name arrives: the attempt of the greater name goes on, for both."""
    network = MemoryNetwork(meet=2)
    with Node(names[0], "c", runtime=network) as one, Node(names[1], "c", runtime=network) as two:
        ports = {node.name: node.listen("x", register=False) for node in (one, two)}
        events: dict[str, list[Any]] = {one.name: [], two.name: []}
        outcomes: dict[str, Any] = {}

        def dial(node: Node, peer: Node) -> None:
            try:
                outcomes[node.name] = node.connect(
                    peer.name, host="x", port=ports[peer.name], timeout=WAIT, on_close=told.append
                )
            except HarnessError as error:
                outcomes[node.name] = error

        told: list[HarnessError] = []
        for node in (one, two):
            node.subscribe(events[node.name].append)
        dialling = [threading.Thread(target=dial, args=pair) for pair in ((one, two), (two, one))]
        for thread in dialling:
            thread.start()
        for thread in dialling:
            thread.join(WAIT)
        for node, peer in ((one, two), (two, one)):
            assert outcomes[node.name] is node.connections[peer.name]
            assert node.ping(peer.name) < WAIT
            assert [type(event) for event in events[node.name]] == [NodeUp]
        assert not told
        one.close()
        until(lambda: len(told) == 1)  # the other's, however its connection came about
        assert not one._links._attempts
        assert not two._links._attempts


def test_a_peer_that_is_being_dialled_by_another_thread() -> None:
    """Who waits for that no longer than his own time; and when it fails, he dials himself."""
    network = MemoryNetwork(meet=2)  # the first waits in its dial for somebody else
    with Node("a@here", "c", runtime=network) as a, Node("b@here", "c", runtime=network) as b:
        port = b.listen("x", register=False)
        errors: list[BaseException] = []

        def first() -> None:
            try:
                a.connect("b@here", host="x", port=port, timeout=WAIT)
            except BaseException as error:
                errors.append(error)

        dialling = threading.Thread(target=first)
        dialling.start()
        until(lambda: bool(a._links._attempts))
        with pytest.raises(NotSent, match="being dialled already"):
            a.connect("b@here", host="x", port=port, timeout=0.05)
        network._meeting.abort()
        dialling.join(WAIT)
        assert [type(error) for error in errors] == [threading.BrokenBarrierError]
        assert not a._links._attempts


def test_two_threads_that_want_the_same_peer_share_a_connection() -> None:
    network = MemoryNetwork()
    with Node("a@here", "c", runtime=network) as a, Node("b@here", "c", runtime=network) as b:
        port = b.listen("x", register=False)
        got: list[Any] = []
        threads = [
            threading.Thread(target=lambda: got.append(a.connect("b@here", host="x", port=port))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert len(got) == 8
        assert len(set(map(id, got))) == 1


def test_references_differ() -> None:
    with Node("a@here", "c") as a, a.mailbox() as box:
        made = {box.alias() for _ in range(100)} | {box.monitor(("x", "a@here")) for _ in range(100)}
        assert len(made) == 200
        assert all(isinstance(ref, Reference) for ref in made)
