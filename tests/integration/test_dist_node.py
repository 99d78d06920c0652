"""A node of ours among nodes of OTP 25 and 27: each side dials, sends to, links to and monitors the other."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from click.testing import CliRunner, Result
from images import erlang_image
from nodes import COOKIE, LABELS, ErlangNode, StartErlang, erlang_nodes, evaluate

from harness.dist import THREADS, Connection, Down, Exit, Node, NodeDown, NodeUp
from harness.dist.__main__ import main
from harness.errors import HandshakeRefused, NotSent
from harness.etf import Atom, Pid, Reference
from harness.load.greenlets import GREENLETS

pytestmark = pytest.mark.docker

WAIT = 90.0
NAME = "me@harness"  # the nodes know the host name as this machine's
RUNTIMES = [pytest.param(THREADS, id="threads"), pytest.param(GREENLETS, id="greenlets")]


def until(condition: Callable[[], Any], seconds: float = WAIT) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def free_port(host: str = "127.0.0.1", family: socket.AddressFamily = socket.AF_INET) -> int:
    """None of those that the kernel gives to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server((host, port), family=family):
            return port


class Epmd:
    """An EPMD of this machine, on the bridge of the nodes' network and the loopback only."""

    def __init__(self, address: str, port: int) -> None:
        self.port = port
        self._client = docker.from_env()
        command = ["epmd", "-address", address, "-port", str(port)]
        self._container = self._client.containers.run(
            erlang_image(27), command, network_mode="host", labels=LABELS, init=True, detach=True
        )
        self._address = address
        until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self._address, self.port), 1):
            return True
        return False

    def restart(self) -> None:
        self._container.restart(timeout=0)
        until(self._answers)

    def close(self) -> None:
        self._container.remove(force=True)
        self._client.close()


class Ground:
    """Two nodes that ask EPMD at a port of the test's own, here too."""

    def __init__(self, start: StartErlang) -> None:
        port = free_port()
        self.nodes = {otp: start(otp, environment={"ERL_EPMD_PORT": str(port)}, epmd_port=port) for otp in (25, 27)}
        self.address = self.nodes[25].address.rpartition(".")[0] + ".1"
        self.epmd = Epmd(self.address, port)

    def listen(self, node: Node) -> int:
        return node.listen(self.address, epmd_port=self.epmd.port)

    def connect(self, node: Node, peer: ErlangNode) -> Connection:
        """As soon as `peer` has given up to dial us, which it does for a while after an earlier test."""

        def connected() -> Connection | None:
            try:
                return node.connect(peer.name, host=peer.address, epmd_port=self.epmd.port)
            except HandshakeRefused as refused:
                if refused.reason != "nok":
                    raise
                return None

        link: Connection = until(connected)
        return link


@pytest.fixture(scope="module")
def ground(start_erlang: StartErlang) -> Iterator[Ground]:
    made = Ground(start_erlang)
    yield made
    made.epmd.close()


@pytest.fixture(params=[25, 27])
def peer(request: pytest.FixtureRequest, ground: Ground) -> ErlangNode:
    found: ErlangNode = ground.nodes[request.param]
    return found


@pytest.fixture(params=RUNTIMES)
def ours(request: pytest.FixtureRequest) -> Iterator[Node]:
    with Node(NAME, COOKIE, runtime=request.param, ticktime=8.0) as node:
        yield node


@pytest.fixture
def ask(ours: Node, ground: Ground, peer: ErlangNode) -> Iterator[Callable[[str], Any]]:
    """Erlang expressions evaluated at the peer, over a connection of another name and the same runtime."""
    with Node("asking@harness", COOKIE, runtime=ours._runtime, ticktime=8.0) as asking:
        link = ground.connect(asking, peer)
        yield lambda source: evaluate(link.erpc, source)


def test_a_node_dials_us(ours: Node, ground: Ground, peer: ErlangNode, ask: Callable[[str], Any]) -> None:
    """Found by EPMD, pinged, sent to, and asked what we do not do."""
    box = ours.mailbox("box")
    ours.subscribe(box.deliver)
    ground.listen(ours)
    assert ask("net_kernel:connect_node('me@harness').") is True
    assert box.receive(WAIT) == NodeUp(peer.name, hidden=False)
    assert ask("net_adm:ping('me@harness').") == "pong"
    assert NAME in ask("nodes(hidden).")
    assert NAME not in ask("nodes().")
    ask("{box, 'me@harness'} ! {self(), hello}.")
    sender, word = box.receive(WAIT)
    assert word == "hello"
    assert sender.node == peer.name
    assert ask("rpc:call('me@harness', lists, seq, [1, 2]).") == ("badrpc", "notsup")
    assert ask("catch gen_server:call({rex, 'me@harness'}, {call, lists, seq, [1, 2], user}).") == ("badrpc", "notsup")
    failed = ask("try erpc:call('me@harness', lists, seq, [1, 2]) catch C:R -> {C, R} end.")
    assert failed == ("error", ("erpc", "notsup"))
    assert ask("try spawn('me@harness', lists, seq, [1, 2]), ok catch C:R -> {C, R} end.") is not None
    assert ask("erlang:disconnect_node('me@harness').") is True
    assert type(box.receive(WAIT)) is NodeDown


def test_a_gen_server_call_to_a_mailbox(ours: Node, ground: Ground, ask: Callable[[str], Any]) -> None:
    """`gen:call` monitors by name, gives an alias and waits for the answer to it."""
    box = ours.mailbox("server")
    ground.listen(ours)
    asked = ask(
        "P = spawn(fun() -> R = (catch gen_server:call({server, 'me@harness'}, question, 20000)),"
        "{server, 'me@harness'} ! {result, R} end), is_pid(P)."
    )
    assert asked is True
    label, (caller, tag), question = box.receive(WAIT)
    assert (label, question) == ("$gen_call", "question")
    box.send(tag.tail if not isinstance(tag, Reference) else caller, (tag, 42))
    assert box.receive(WAIT) == ("result", 42)
    gone = ask("try gen_server:call({nobody, 'me@harness'}, question, 20000) catch exit:R -> element(1, R) end.")
    assert gone == "noproc"


def test_they_monitor_and_link_our_mailboxes(ours: Node, ground: Ground, ask: Callable[[str], Any]) -> None:
    box, watched, linked = ours.mailbox("box"), ours.mailbox("watched"), ours.mailbox("linked")
    ground.listen(ours)
    ask(
        "P = spawn(fun() -> process_flag(trap_exit, true), {linked, 'me@harness'} ! {self(), give_pid},"
        "M = monitor(process, {watched, 'me@harness'}), N = monitor(process, {nobody, 'me@harness'}),"
        "Loop = fun(F) -> receive {pid, Pid} -> link(Pid), {box, 'me@harness'} ! linked, F(F);"
        "{'DOWN', M, process, _, Reason} -> {box, 'me@harness'} ! {down, Reason}, F(F);"
        "{'DOWN', N, process, Who, Reason} -> {box, 'me@harness'} ! {nobody, Who, Reason}, F(F);"
        "{'EXIT', _, Reason} -> {box, 'me@harness'} ! {exit, Reason} end end, Loop(Loop) end), is_pid(P)."
    )
    process, _ = linked.receive(WAIT)
    assert box.receive(WAIT) == ("nobody", (Atom("nobody"), Atom(NAME)), "noproc")
    until(lambda: watched.bonds._watchers)
    watched.close(Atom("closed"))
    assert box.receive(WAIT) == ("down", "closed")
    linked.send(process, (Atom("pid"), linked.pid))
    assert box.receive(WAIT) == "linked"
    assert linked.bonds.linked() == [process]
    linked.close((Atom("gone"), [1]))
    assert box.receive(WAIT) == ("exit", ("gone", [1]))


def test_we_spawn_monitor_and_link(ours: Node, ground: Ground, peer: ErlangNode) -> None:
    link = ground.connect(ours, peer)
    with ours.mailbox() as box:
        spawned = box.spawn(peer.name, "timer", "sleep", [600_000], link=True, monitor=True)
        assert isinstance(spawned, tuple)
        pid, ref = spawned
        assert link.erpc("erlang", "is_process_alive", [pid]) is True
        box.exit(pid, Atom("enough"))
        got = [box.receive(WAIT), box.receive(WAIT)]
        assert Down(ref, pid, Atom("enough")) in got
        assert Exit(pid, Atom("enough")) in got

        quick = box.spawn(peer.name, "erlang", "exit", [(Atom("why"), b"x" * 100_000)], monitor=True)
        assert isinstance(quick, tuple)
        assert box.receive(WAIT) == Down(quick[1], quick[0], (Atom("why"), b"x" * 100_000))
        crashed = box.spawn(peer.name, "no_such", "function", [], monitor=True)
        assert isinstance(crashed, tuple)
        assert box.receive(WAIT).reason[0] == "undef"

        sleeper = box.spawn(peer.name, "timer", "sleep", [600_000])
        assert isinstance(sleeper, Pid)
        watch, other = box.monitor(sleeper), box.monitor(("rex", peer.name))
        box.demonitor(other)
        box.link(sleeper)
        until(lambda: box.pid in link.erpc("erlang", "process_info", [sleeper, Atom("links")])[1])
        box.unlink(sleeper)
        until(lambda: link.erpc("erlang", "process_info", [sleeper, Atom("links")])[1] == [])
        until(lambda: not box.bonds._links)  # acknowledged
        box.link(sleeper)
        link.erpc("erlang", "exit", [sleeper, Atom("stop")])
        got = [box.receive(WAIT), box.receive(WAIT)]
        assert Down(watch, sleeper, Atom("stop")) in got
        assert Exit(sleeper, Atom("stop")) in got
        box.link(sleeper)
        assert box.receive(WAIT) == Exit(sleeper, Atom("noproc"))
        gone = box.monitor(("nobody", peer.name))
        assert box.receive(WAIT) == Down(gone, (Atom("nobody"), Atom(peer.name)), Atom("noproc"))


def test_our_end_reaches_them(ours: Node, ground: Ground, peer: ErlangNode) -> None:
    """Whom we are linked to dies of us; what prints with us as its group leader is not held up."""
    link = ground.connect(ours, peer)
    box = ours.mailbox()
    linked = box.spawn(peer.name, "timer", "sleep", [600_000], link=True)
    box.close(Atom("crashed"))
    until(lambda: link.erpc("erlang", "is_process_alive", [linked]) is False)
    with ours.mailbox() as other:
        printing = other.spawn(peer.name, "io", "format", [b"to nobody~n"], monitor=True)
        assert isinstance(printing, tuple)
        assert other.receive(WAIT) == Down(printing[1], printing[0], Atom("normal"))


def test_aliases(ours: Node, ground: Ground, peer: ErlangNode) -> None:
    link = ground.connect(ours, peer)
    with ours.mailbox() as box:
        alias = box.alias()
        link.erpc("erlang", "send", [alias, Atom("by_alias")])
        assert box.receive(WAIT) == "by_alias"
        box.unalias(alias)
        link.erpc("erlang", "send", [alias, Atom("late")])
        link.erpc("erlang", "send", [box.pid, Atom("by_pid")])
        assert box.receive(WAIT) == "by_pid"
        theirs = evaluate(
            link.erpc,
            "S = self(), P = spawn(fun() -> A = alias(), S ! A, receive M -> "
            "application:set_env(stdlib, alias_got, M) end end), receive A -> A end.",
        )
        box.send(theirs, Atom("to_alias"))
        got = [Atom("stdlib"), Atom("alias_got")]
        until(lambda: link.erpc("application", "get_env", got) == ("ok", "to_alias"))
        assert link.rpc("application", "unset_env", got) == "ok"


def test_epmd_started_anew_learns_our_name_again(ground: Ground) -> None:
    with Node(NAME, COOKIE) as ours:
        ground.listen(ours)
        with Node(NAME, COOKIE) as another, pytest.raises(NotSent, match="does not register the name"):
            ground.listen(another)
        ground.epmd.restart()
        with Node("asking@harness", COOKIE) as asking:
            link = ground.connect(asking, ground.nodes[27])
            until(lambda: link.erpc("net_adm", "ping", [Atom(NAME)], WAIT) == "pong")


def test_visible(ground: Ground, peer: ErlangNode) -> None:
    with Node("seen@harness", COOKIE, hidden=False, ticktime=8.0) as seen:
        ground.listen(seen)
        link = ground.connect(seen, peer)
        assert "seen@harness" in link.erpc("erlang", "nodes")
        assert "seen@harness" in link.erpc("erlang", "nodes", [Atom("visible")])


def test_a_name_given_by_the_node(peer: ErlangNode, ground: Ground) -> None:
    with Node("harness", COOKIE, ticktime=8.0) as nameless:
        link = ground.connect(nameless, peer)
        assert nameless.name.endswith("@harness")
        assert nameless.name in link.erpc("erlang", "nodes", [Atom("hidden")])
        with nameless.mailbox("box") as box:
            link.erpc("erlang", "send", [(Atom("box"), Atom(nameless.name)), 1])
            assert box.receive(WAIT) == 1
            assert nameless.ping(peer.name) < WAIT


def test_a_node_without_a_name_dials_us(ours: Node, ground: Ground, peer: ErlangNode) -> None:
    """It takes the name that we give it, says itself that it is connected, and calls pass both ways."""
    box = ours.mailbox("box")
    ours.subscribe(box.deliver)
    ground.listen(ours)
    script = (
        f"R = net_kernel:connect_node('{NAME}'), {{box, '{NAME}'}} ! {{self(), R, node()}}, receive stop -> halt() end."
    )
    run = ["erl", "-noinput", "-sname", "undefined", "-setcookie", COOKIE, "-eval", script]
    peer.container.exec_run(run, detach=True)
    up = box.receive(WAIT)
    assert type(up) is NodeUp
    asked, connected, name = box.receive(WAIT)
    assert (connected, name, asked.node) == (True, up.node, up.node)
    assert name.endswith(f"@{peer.host}")
    link = ours.connections[name]
    assert link.erpc("erlang", "node") == name
    assert link.rpc("erlang", "nodes", [Atom("hidden")]) == [NAME]
    assert evaluate(link.erpc, f"net_adm:ping('{NAME}').") == "pong"
    link.cast("gen_server", "call", [(Atom("box"), Atom(NAME)), Atom("question")])
    call, (_, _), question = box.receive(WAIT)
    assert (call, question) == ("$gen_call", "question")
    assert evaluate(link.erpc, f"rpc:call('{NAME}', lists, seq, [1, 2]).") == ("badrpc", "notsup")
    box.send(asked, Atom("stop"))
    down = box.receive(WAIT)
    assert (type(down), down.node) == (NodeDown, name)


def test_both_dial_at_once(ours: Node, ground: Ground, peer: ErlangNode, ask: Callable[[str], Any]) -> None:
    """However the two attempts meet, one connection comes of it and both sides use it."""
    ground.listen(ours)
    for _ in range(10):
        ask("spawn(fun() -> net_kernel:connect_node('me@harness') end), ok.")
        link = ground.connect(ours, peer)
        assert link.erpc("erlang", "node") == peer.name
        assert ask("net_adm:ping('me@harness').") == "pong"
        assert ask("[N || N <- nodes(hidden), N =:= 'me@harness'].") == [NAME]
        for connection in ours.connections.values():
            connection.close()
        until(lambda: ask("lists:member('me@harness', nodes(hidden)).") is False)


def test_a_node_that_dies(ground: Ground, start_erlang: StartErlang) -> None:
    port = ground.epmd.port
    victim = start_erlang(27, environment={"ERL_EPMD_PORT": str(port)}, epmd_port=port)
    with Node(NAME, COOKIE, ticktime=8.0) as ours, ours.mailbox() as box:
        ground.connect(ours, victim)
        ours.subscribe(box.deliver)
        spawned = box.spawn(victim.name, "timer", "sleep", [600_000], link=True, monitor=True)
        assert isinstance(spawned, tuple)
        victim.container.kill("SIGKILL")
        told = [box.receive(WAIT) for _ in range(3)]
        assert Down(spawned[1], spawned[0], Atom("noconnection")) in told
        assert Exit(spawned[0], Atom("noconnection")) in told
        assert [type(each) for each in told].count(NodeDown) == 1
        with pytest.raises(NotSent):
            box.send(spawned[0], 1)
        with pytest.raises(NotSent):
            box.spawn(victim.name, "erlang", "node")


def tool(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_tools_for_people(ground: Ground, peer: ErlangNode) -> None:
    where = ["--host", peer.address, "--epmd-port", str(ground.epmd.port)]
    given = [*where, "--cookie", COOKIE]
    ponged = tool("ping", peer.name, *given)
    assert (ponged.exit_code, ponged.stderr) == (0, "")
    assert re.fullmatch(r"pong \d+\.\d\d ms\n", ponged.stdout)
    for asked, told in (
        (("lists", "seq", "1", "10"), "[1,2,3,4,5,6,7,8,9,10]"),
        (("lists", "reverse", '[a, {b, 1.5}, <<"c">>]'), '[<<"c">>,{b,1.5},a]'),
        (("erlang", "abs", "-5"), "5"),
        (("string", "uppercase", "Hello there"), '"HELLO THERE"'),
        (("lists", "map", "fun erlang:abs/1", "[-1,-2]"), "[1,2]"),
        (("erlang", "node"), peer.name),
    ):
        called = tool("call", peer.name, *asked, *given)
        assert (called.exit_code, called.stderr) == (0, "")
        assert called.stdout == told + "\n"
    for asked, complaint in (
        (("call", peer.name, "erlang", "error", "boom", *given), f"{peer.name}: erpc erlang:error/1: error: {{boom,"),
        (("call", peer.name, "erlang", "exit", "boom", *given), f"{peer.name}: erpc erlang:exit/1: exit: boom\n"),
        (("call", peer.name, "timer", "sleep", "60000", "--timeout", "3", *given), "no answer within 3.0 s"),
        (("ping", peer.name, *where, "--cookie", "wrong"), "the cookies differ"),
        (("ping", f"nobody@{peer.host}", *given), "is the node up?"),
        (("ping", "nobody", *given), "'nobody' is no node name"),
        (("ping", peer.name, *given, "--tls", "/nowhere"), "ca.pem"),
    ):
        failed = tool(*asked)
        assert failed.exit_code == 1
        assert complaint in failed.stderr
        assert failed.stderr.count("\n") == 1
        assert failed.stdout == ("pang\n" if asked[0] == "ping" else "")


@pytest.mark.parametrize("otp", [25, 27])
def test_ipv6_without_epmd(otp: int) -> None:
    """All nodes, ours too, listen at one port that everybody knows; nobody asks an EPMD."""
    port = free_port("::1", socket.AF_INET6)
    arguments = ["-start_epmd", "false", "-erl_epmd_port", str(port)]
    with erlang_nodes(erlang_image, inet6=True) as start:
        theirs = start(otp, *arguments, port=port)
        address = theirs.address.rpartition(":")[0] + ":1"
        assert ":" in address
        with Node(NAME, COOKIE, ticktime=8.0) as ours, Node("asking@harness", COOKIE) as asking:
            link = asking.connect(theirs.name, host=theirs.address, port=port)
            assert ours.listen(address, port, register=False) == port
            with ours.mailbox("box") as box:
                assert link.erpc("net_adm", "ping", [Atom(NAME)], WAIT) == "pong"
                link.erpc("erlang", "send", [(Atom("box"), Atom(NAME)), Atom("over_ipv6")])
                assert box.receive(WAIT) == "over_ipv6"
                assert ours.ping(theirs.name) < WAIT
            ours.connections[theirs.name].close()
            dialled = ours.connect(theirs.name, host=theirs.address, port=port)
            assert dialled.rpc("erlang", "node") == theirs.name
