"""What a caller hands in by mistake: an error that says so, before anything is sent, and everything goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory import MemoryNetwork

from harness.dist import THREADS, Connection, Mailbox, Node, Runtime, connect, names
from harness.dist.arguments import check_name
from harness.errors import EncodeError, HarnessError, NotSent, UsageError
from harness.etf import DecodeOptions, Pid
from harness.load.greenlets import GREENLETS

WAIT = 60.0


class Raises:
    """A value that fails while it is written."""

    def __etf__(self) -> object:
        raise LookupError("not there")


@pytest.fixture(scope="module")
def link() -> Iterator[Connection]:
    network = MemoryNetwork()
    with Node("a@here", "c", runtime=network) as a, Node("b@here", "c", runtime=network) as b:
        yield a.connect("b@here", host="x", port=b.listen("x", register=False))


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with Node("a@here", "c", runtime=MemoryNetwork()) as a, a.mailbox() as made:
        yield made


CALLS: list[tuple[Callable[[Any], object], type[HarnessError], str]] = [
    (lambda c: c.rpc("m", "f", [object()]), EncodeError, "b@here: rpc m:f/1: no Erlang term for a object"),
    (lambda c: c.erpc("m", "f", [1, object()]), EncodeError, "b@here: erpc m:f/2: no Erlang term for a object"),
    (lambda c: c.cast("m", "f", [object()]), EncodeError, "b@here: cast m:f/1: no Erlang term for a object"),
    (lambda c: c.send_named("x", object()), EncodeError, "b@here: send: no Erlang term for a object"),
    (lambda c: c.send(Pid("b@here", 9, 0, 1), object()), EncodeError, "b@here: send: no Erlang term for a object"),
    (lambda c: c.erpc("m" * 300, "f"), EncodeError, "an atom has at most 255 characters"),
    (lambda c: c.rpc("m", "f", 5), UsageError, "b@here: rpc m:f: expected a list of arguments, got 5"),
    (lambda c: c.erpc("m", "f", None), UsageError, "b@here: erpc m:f: expected a list of arguments, got None"),
    (lambda c: c.rpc(5, "f"), UsageError, "b@here: rpc: expected the name of a module, got 5"),
    (lambda c: c.erpc("m", ["f"]), UsageError, "b@here: erpc: expected the name of a function, got ['f']"),
    (lambda c: c.cast("m", None), UsageError, "b@here: cast: expected the name of a function, got None"),
    (lambda c: c.send_named(5, 1), UsageError, "b@here: send: expected a registered name, got 5"),
    (lambda c: c.send("x", 1), UsageError, "b@here: send: expected a Pid, got 'x'"),
]


@pytest.mark.parametrize(("mistake", "kind", "text"), CALLS)
def test_calls(link: Connection, mistake: Callable[[Any], object], kind: type[HarnessError], text: str) -> None:
    with pytest.raises(kind) as raised:
        mistake(link)
    assert text in str(raised.value)
    assert not link.calls
    assert not link.closed


def test_what_a_caller_s_own_code_raises_is_his(link: Connection) -> None:
    for call in (link.rpc, link.erpc, link.cast):
        with pytest.raises(LookupError):
            call("m", "f", [Raises()])
    with pytest.raises(LookupError):
        link.send_named("x", Raises())
    assert not link.calls


NO_NAMES: list[Any] = [
    "", "@", "a@", "@b", "a", "a@b@c", "\u00e4@h", "x y@z", "x@y z", "a.b@h", "a'b@h", "a\t@h", "a@h\n", "a@\u65e5",
    "a" * 254 + "@h", 5, None, b"a@h",
]  # fmt: skip


def test_names_of_nodes() -> None:
    """See test_names_that_a_node_lets_in."""
    for name in ("a@h", "A-1_b@h.x-y", "a@::1", "a@h\u00f6st", "a" * 253 + "@h"):
        check_name(name)
        Node(name, "c").close()
    with Node("a@here", "c") as node:
        for name in NO_NAMES:
            with pytest.raises(UsageError, match=r"connect: .* is no node name; write name@host: letters"):
                node.connect(name)
            with pytest.raises(UsageError, match="is no node name"):
                connect("b@here", host="127.0.0.1", port=1, local=name, cookie="c")
            if name != "a":  # the host of a name that is to be given
                with pytest.raises(UsageError, match=r"node: .* is no node name"):
                    Node(name, "c")
    with pytest.raises(UsageError, match="a@here: node: expected a str as cookie"):
        Node("a@here", None)  # type: ignore[arg-type]


NO_TIMES: list[Any] = [float("inf"), float("nan"), 1e10, "8", b"8", [1]]
NO_PORTS: list[Any] = [-1, 65536, 99999, 1.5, "1", True]


@pytest.mark.parametrize("runtime", [THREADS, GREENLETS])
def test_times_and_ports_that_cannot_be_meant(runtime: Runtime) -> None:
    """An error before anybody is dialled: nobody listens at these addresses, and that would be a NotSent."""
    with Node("a@here", "c", runtime=runtime) as node, node.mailbox() as box:
        for timeout in (*NO_TIMES, None):
            match = "expected seconds as timeout, at most 1000000, got"
            with pytest.raises(UsageError, match=f"^b@here: connect: {match}"):
                node.connect("b@here", host="127.0.0.1", port=1, timeout=timeout)
            with pytest.raises(UsageError, match=f"^b@here: connect: {match}"):
                connect("b@here", host="127.0.0.1", port=1, cookie="c", timeout=timeout)
            with pytest.raises(UsageError, match=f"^a@here: listen: {match}"):
                node.listen(timeout=timeout)
            with pytest.raises(UsageError, match=f"names: {match}"):
                names("127.0.0.1", 1, timeout=timeout)
            if timeout is not None:
                with pytest.raises(UsageError, match=f"^a@here: receive: {match}"):
                    box.receive(timeout)
                with pytest.raises(UsageError, match=f"^b@here: ping: {match}"):
                    node.ping("b@here", timeout)
        for ticktime in (*NO_TIMES, None, 0, -1, 0.01):
            with pytest.raises(
                UsageError, match=r"^a@here: node: expected a ticktime from 0\.1 to 1000000 seconds, got"
            ):
                Node("a@here", "c", ticktime=ticktime)
        for port in NO_PORTS:
            with pytest.raises(UsageError, match=r"^b@here: connect: expected a port from 1 to 65535, got"):
                node.connect("b@here", host="127.0.0.1", port=port)
            with pytest.raises(UsageError, match=r"^b@here: connect: expected a port from 1 to 65535, got"):
                node.connect("b@here", host="127.0.0.1", epmd_port=port)
            with pytest.raises(UsageError, match=r"^a@here: listen: expected a port from 0 to 65535, got"):
                node.listen(port=port, register=False)
            with pytest.raises(UsageError, match=r"^a@here: listen: expected a port from 1 to 65535, got"):
                node.listen(epmd_port=port)
            with pytest.raises(UsageError, match=r"^names: expected a port from 1 to 65535, got"):
                names("127.0.0.1", port)
        for host in (5, b"127.0.0.1"):
            with pytest.raises(UsageError, match=r"^b@here: connect: expected a str as host, got"):
                node.connect("b@here", host=host, port=1)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=r"^a@here: listen: expected a str as host, got"):
                node.listen(host, register=False)  # type: ignore[arg-type]


def test_a_call_s_timeout_that_cannot_be_meant(link: Connection) -> None:
    for timeout in NO_TIMES:
        for call in (link.rpc, link.erpc):
            with pytest.raises(UsageError, match=r"^b@here: e?rpc: expected seconds as timeout, at most 1000000, got"):
                call("m", "f", [], timeout)
    assert not link.calls
    assert not link.closed


MAIL: list[tuple[Callable[[Any], object], type[HarnessError], str]] = [
    (lambda b: b.send("x", 1), UsageError, "a@here: send: expected a Pid, an alias or (name, node), got 'x'"),
    (
        lambda b: b.send((5, "a@here"), 1),
        UsageError,
        "send: expected a Pid, an alias or (name, node), got (5, 'a@here')",
    ),
    (lambda b: b.send(b.pid, object()), EncodeError, "a@here: send: no Erlang term for a object"),
    (lambda b: b.exit("x", 1), UsageError, "a@here: exit: expected a Pid, got 'x'"),
    (lambda b: b.exit(b.pid, object()), EncodeError, "a@here: exit: no Erlang term for a object"),
    (lambda b: b.close(object()), EncodeError, "a@here: close: no Erlang term for a object"),
    (lambda b: b.link(("x", "b@here")), UsageError, "a@here: link: expected a Pid, got ('x', 'b@here')"),
    (lambda b: b.unlink(5), UsageError, "a@here: unlink: expected a Pid, got 5"),
    (lambda b: b.monitor("xy"), UsageError, "a@here: monitor: expected a Pid or (name, node), got 'xy'"),
    (lambda b: b.demonitor(5), UsageError, "a@here: demonitor: expected a Reference, got 5"),
    (lambda b: b.unalias(b.pid), UsageError, "a@here: unalias: expected a Reference, got Pid"),
    (lambda b: b.receive(0, 5), UsageError, "a@here: receive: expected a function as match, got 5"),
    (lambda b: b.spawn(5, "m", "f"), UsageError, "a@here: spawn: expected the name of a node, got 5"),
    (lambda b: b.spawn("b@here", "m", "f", 3), UsageError, "b@here: spawn m:f: expected a list of arguments, got 3"),
    (lambda b: b.spawn("b@here", "m", "f", "ab"), UsageError, "spawn m:f: expected a list of arguments, got 'ab'"),
    (lambda b: b.spawn("b@here", 5, "f"), UsageError, "b@here: spawn: expected the name of a module, got 5"),
    (
        lambda b: b.spawn("a@here", "m", "f", timeout="1"),
        UsageError,
        "spawn: expected seconds as timeout, at most 1000000, got '1'",
    ),
    (lambda b: b.spawn("a@here", "m", "f", [object()]), EncodeError, "a@here: spawn m:f/1: no Erlang term for a obj"),
]


@pytest.mark.parametrize(("mistake", "kind", "text"), MAIL)
def test_mailboxes(box: Mailbox, mistake: Callable[[Any], object], kind: type[HarnessError], text: str) -> None:
    with pytest.raises(kind) as raised:
        mistake(box)
    assert text in str(raised.value)
    assert not box._exchange._processes.spawnings
    assert not box.bonds._monitors
    box.send(box.pid, 1)
    assert box.receive(WAIT) == 1


def test_a_match_that_raises_loses_no_message(box: Mailbox) -> None:
    for number in range(3):
        box.send(box.pid, number)
    with pytest.raises(ZeroDivisionError):
        box.receive(WAIT, lambda number: number == 1 / (1 - number))
    assert [box.receive(WAIT) for _ in range(3)] == [0, 1, 2]


def test_what_a_node_is_given() -> None:
    with Node("a@here", "c") as node:
        for name in (5, "x" * 256):
            with pytest.raises(UsageError, match="a@here: mailbox: expected a name of at most 255 characters"):
                node.mailbox(name)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="a@here: subscribe: expected a function, got 5"):
            node.subscribe(5)  # type: ignore[arg-type]


def deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels - 1):
        made = [made]
    return made


@pytest.mark.parametrize("atom_cache", [False, True])
def test_limits_of_messages(atom_cache: bool) -> None:
    """From here, from a mailbox of the same node, and from another node: the connection does not survive the last."""
    network = MemoryNetwork()
    wide = DecodeOptions(max_depth=1000)
    with (
        Node("a@here", "c", runtime=network, limits=wide, atom_cache=atom_cache) as a,
        Node("b@here", "c", runtime=network, atom_cache=atom_cache) as b,
        a.mailbox() as at_a,
        b.mailbox() as at_b,
    ):
        a.connect("b@here", host="x", port=b.listen("x", register=False))
        at_a.send(at_a.pid, deep(600))
        assert at_a.receive(WAIT) == deep(600)
        at_a.send(at_b.pid, at_a.pid)
        at_b.send(at_b.receive(WAIT), deep(600))
        assert at_a.receive(WAIT) == deep(600)
        with pytest.raises(EncodeError, match="b@here: send: beyond the limits of this node"):
            at_b.send(at_b.pid, deep(600))
        watch = at_b.monitor(at_a.pid)
        at_a.send(at_b.pid, deep(600))
        down = at_b.receive(WAIT)
        assert (down.ref, down.reason) == (watch, "noconnection")
    for looks in (DecodeOptions(atom="str"), 5):
        with pytest.raises(UsageError, match="a@here: node: expected DecodeOptions of nothing but limits"):
            Node("a@here", "c", limits=looks)  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", [THREADS, GREENLETS])
def test_hosts_that_no_resolver_can_be_asked_for(runtime: Runtime) -> None:
    with Node("a@here", "c", runtime=runtime) as node:
        for host in ("a..b", "x" * 64):
            for port in (1, None):
                with pytest.raises(NotSent, match=r"b@here: connect: .* is no name of a host"):
                    node.connect("b@here", host=host, port=port)
            with pytest.raises(NotSent, match=r"a@here: listen: .* is no name of a host"):
                node.listen(host, register=False)
        with pytest.raises(NotSent, match=r"b@a\.\.b: connect: .* is no name of a host"):
            node.connect("b@a..b")
