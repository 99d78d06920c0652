"""What real nodes put on the wire: distribution headers, and every control message that a node sends or takes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from nodes import COOKIE, ErlangNode, evaluate
from raw_links import RawLink
from terms import RandomTerms, exactly

from harness.dist import THREADS, Down, Node, Runtime
from harness.dist.protocol.control import (
    AliasSend,
    DemonitorP,
    Exit,
    Exit2,
    GroupLeader,
    Link,
    MonitorP,
    MonitorPExit,
    RegSend,
    Send,
    SpawnReply,
    SpawnRequest,
    UnlinkId,
    UnlinkIdAck,
)
from harness.dist.protocol.flags import HEADER, HIDDEN, Flag
from harness.errors import CallTimeout, HandshakeRefused, RemoteError, UsageError
from harness.etf import Atom, DecodeOptions, Export, Pid, Reference, Term
from harness.load.greenlets import GREENLETS

pytestmark = pytest.mark.docker

WAIT = 60.0


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: Any) -> ErlangNode:
    return start_erlang(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def link(node: ErlangNode) -> Iterator[RawLink]:
    link = RawLink(node, "headed@harness", HIDDEN | HEADER)
    yield link
    link.sock.close()


NOT_LET_IN = ["a@b@c", "\u00e4@h", "x y@z", "a.b@h", "a'b@h", "a\t@h", "\u65e5@h", "a" * 254 + "@h"]


def test_names_that_a_node_lets_in(node: ErlangNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """It agrees with our own check, which leaves hosts that no node can be started with out, too."""
    for name in ("A-1_b@h.x-y", "a@::1", "a@h\u00f6st", "a" * 253 + "@h"):
        node.connect(local=name).close()
    for name in NOT_LET_IN:
        with pytest.raises(UsageError):
            node.connect(local=name)
    for check in ("check_name", "check_own"):
        monkeypatch.setattr(f"harness.dist.node.{check}", lambda _: None)
    for name in NOT_LET_IN:
        with pytest.raises(HandshakeRefused):
            node.connect(local=name)


@pytest.mark.parametrize("atom_cache", [False, True])
def test_limits_of_answers(node: ErlangNode, atom_cache: bool) -> None:
    deep = "lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, 600))."
    link = node.connect(atom_cache=atom_cache, limits=DecodeOptions(max_depth=1000))
    for call in (link.rpc, link.erpc):
        nested, depth = evaluate(call, deep), 0
        while nested:
            (nested,) = nested
            depth += 1
        assert depth == 600
    link.close()
    narrow = node.connect(atom_cache=atom_cache)
    with pytest.raises(RemoteError, match="unreadable answer"):
        evaluate(narrow.erpc, deep)
    assert narrow.erpc("erlang", "abs", [-1]) == 1
    narrow.close()


# --- distribution headers ---------------------------------------------------------------------------------------------


def test_both_sides_offer_it(link: RawLink) -> None:
    assert link.common & HEADER == HEADER


def test_terms_come_back(link: RawLink) -> None:
    terms = [
        Atom("hello"), True, None, False, Atom(""), Atom("x" * 255), Atom("\u00e9" * 255), Atom("\U0001f600" * 255),
        link.pid, Reference(link.pid.node, 7, (1, 2, 3)), Export(Atom("lists"), Atom("seq"), 2),
        {Atom("k"): [Atom("v")]},
        (1, -1, 1 << 70, 1.5, b"", [1, 2], "\u00e9".encode(), [300, Atom("hello")]),
    ]  # fmt: skip
    for _ in range(3):  # new in the cache, then known
        assert link.call("erlang", "hd", [[terms]]) == terms


def test_more_atoms_than_a_header_and_the_cache_hold(link: RawLink) -> None:
    for start in range(0, 4000, 400):
        atoms = [Atom(f"a{number}") for number in range(start, start + 400)]
        assert link.call("lists", "reverse", [atoms]) == atoms[::-1]
    atoms = [Atom(f"a{number}") for number in range(0, 4000, 40)]  # most were replaced in the cache
    assert link.call("lists", "reverse", [atoms]) == atoms[::-1]


def test_fragments_both_ways(link: RawLink) -> None:
    before = link.fragmented
    blob = bytes(range(256)) * 2000
    assert link.call("erlang", "hd", [[blob]]) == blob
    assert link.fragmented == before + 2
    for size in (65_000, 65_536, 131_072, 131_073):
        assert link.call("erlang", "byte_size", [blob[:size]]) == size
        assert link.call("binary", "part", [blob, 0, size]) == blob[:size]


def test_fragments_of_many_at_once(link: RawLink) -> None:
    wanted = {}
    for number in range(20):
        size = 300_000 + number
        wanted[link.start("binary", "copy", [b"x", size])] = size
    while wanted:
        _, (ref, blob) = link.receive()
        assert len(blob) == wanted.pop(ref)


# --- control messages -------------------------------------------------------------------------------------------------

# What a process does to us, alone and as part of a sequential trace
DOES = """
spawn(fun() ->
    [seq_trace:set_token(What, How) || {What, How} <- Token],
    Me ! hello, {recorder, node(Me)} ! hello, Alias ! hello,
    link(Me), unlink(Me),
    demonitor(monitor(process, Me)), demonitor(monitor(process, {recorder, node(Me)})),
    exit(Me, why), group_leader(self(), Me),
    spawn_request(node(Me), m, f, [1], [monitor]),
    link(Me), exit(broken)
end)."""
# A process that tells us all it gets, with the label of the trace it came in
TELLS = """
Tell = fun Tell() ->
    receive What -> seq_trace:set_token([]), Me ! {got, What, group_leader() =:= Me}, Tell() end
end,
spawn(fun() -> process_flag(trap_exit, true), Me ! {alias, alias()}, Tell() end)."""
TOKEN = [(Atom("label"), 17), (Atom("send"), True)]
OLD, NEW = HIDDEN & ~Flag.EXIT_PAYLOAD, HIDDEN | HEADER | Flag.SEND_SENDER
NEVER_SENT = {4, 5, 18, 27}  # by OTP 25 to 27: the old unlink and node link, a traced exit/2


def test_control_messages(node: ErlangNode) -> None:
    seen = set()
    for flags in (OLD, NEW):
        link = RawLink(node, "recorder@harness", flags)
        for token in ([], TOKEN):
            what_it_does_to_us(link, token)
            what_we_do_to_it(link, (1, 17, 1, link.pid, 0) if token else None)
        seen |= link.opcodes
        link.sock.close()
    assert seen == {*range(1, 9), 12, 13, 16, *range(18, 37)} - NEVER_SENT


def what_it_does_to_us(link: RawLink, token: list[Term]) -> None:
    me, recorder, alias = link.pid, Atom("recorder"), link.reference()
    them = link.evaluate(DOES, Me=me, Alias=alias, Token=token)
    came = [link.other() for _ in range(14)]
    for control, _ in came:  # exit/2 is not traced
        if hasattr(control, "token"):
            assert (control.token or [0, 0])[1] == (17 if token and not isinstance(control, Exit2) else 0)
    sent = them if link.common & Flag.SEND_SENDER else None
    unlink, monitors = came[4][0], [came[at][0].ref for at in (5, 7)]  # type: ignore[union-attr]
    request = came[11][0]
    assert isinstance(unlink, UnlinkId)
    assert isinstance(request, SpawnRequest)
    expected = [
        (Send(me, sent), Atom("hello")),
        (RegSend(them, recorder), Atom("hello")),
        (AliasSend(them, alias), Atom("hello")),
        (Link(them, me), None),
        (UnlinkId(unlink.id, them, me), None),
        (MonitorP(them, me, monitors[0]), None),
        (DemonitorP(them, me, monitors[0]), None),
        (MonitorP(them, recorder, monitors[1]), None),
        (DemonitorP(them, recorder, monitors[1]), None),
        (Exit2(them, me, Atom("why")), None),
        (GroupLeader(them, me), None),
        (SpawnRequest(request.ref, them, request.group_leader, (Atom("m"), Atom("f"), 1), request.options), [1]),
        (Link(them, me), None),
        (Exit(them, me, Atom("broken")), None),
    ]
    assert [(untraced(control), message) for control, message in came] == expected
    assert unlink.id > 0
    assert all(isinstance(ref, Reference) for ref in (*monitors, request.ref))
    assert Atom("monitor") in request.options


def untraced(control: Any) -> Any:
    if not hasattr(control, "token"):
        return control
    return type(control)(**{name: getattr(control, name) for name in control.__slots__ if name != "token"})


def what_we_do_to_it(link: RawLink, token: Term) -> None:
    me, payload = link.pid, bool(link.common & Flag.EXIT_PAYLOAD)
    them = link.evaluate(TELLS, Me=me)
    _, (_, alias) = link.other()

    def told() -> Term:
        control, message = link.other()
        assert isinstance(control, Send)
        assert message[0] == "got"
        return message[1:]

    link.send(Send(them, token=token), Atom("one"))
    assert told() == (Atom("one"), False)
    link.send(Send(them, me, token), Atom("two"))
    assert told() == (Atom("two"), False)
    link.send(GroupLeader(me, them))
    link.send(AliasSend(me, alias, token), Atom("three"))
    assert told() == (Atom("three"), True)
    link.send(Link(me, them))
    link.send(Exit(me, them, Atom("left"), token), exit_payload=payload)
    assert told() == ((Atom("EXIT"), me, Atom("left")), True)
    link.send(Exit2(me, them, Atom("told"), token), exit_payload=payload)
    assert told() == ((Atom("EXIT"), me, Atom("told")), True)
    link.send(Link(me, them))
    link.send(UnlinkId(77, me, them))
    assert link.other() == (UnlinkIdAck(77, them, me), None)
    dropped, kept, nobody = (link.reference() for _ in range(3))
    link.send(MonitorP(me, them, dropped))
    link.send(DemonitorP(me, them, dropped))
    link.send(MonitorP(me, them, kept))
    link.send(MonitorP(me, Atom("nobody"), nobody))
    assert link.other() == (MonitorPExit(Atom("nobody"), me, nobody, Atom("noproc")), None)
    link.send(Exit2(me, them, Atom("kill"), token), exit_payload=payload)
    assert link.other() == (MonitorPExit(them, me, kept, Atom("killed")), None)
    ref = link.reference()
    mfa = (Atom("erlang"), Atom("send"), 2)
    link.send(SpawnRequest(ref, me, me, mfa, [Atom("monitor"), Atom("link")], token), [me, Atom("spawned")])
    reply, _ = link.other()
    assert isinstance(reply, SpawnReply)
    assert isinstance(reply.result, Pid)
    assert (reply.ref, reply.to, reply.flags) == (ref, me, SpawnReply.LINKED | SpawnReply.MONITORED)
    ends = [link.other() for _ in range(3)]
    assert (Send, Atom("spawned")) in [(type(control), message) for control, message in ends]
    assert {type(control) for control, _ in ends} == {Send, Exit, MonitorPExit}


# --- a connection over all that ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", [THREADS, GREENLETS], ids=["threads", "greenlets"])
def test_a_connection_with_headers(node: ErlangNode, runtime: Runtime) -> None:
    connection = node.connect(local="cached@harness", atom_cache=True, runtime=runtime)
    assert connection.otp_flags & HEADER == HEADER
    blob = bytes(range(256)) * 20_000
    for call in (connection.rpc, connection.erpc):
        for _ in range(3):
            assert call("erlang", "hd", [[blob]], timeout=30) == blob
            assert call("lists", "reverse", [[Atom("x"), True, Atom("y" * 255)]]) == ["y" * 255, True, "x"]
        with pytest.raises(RemoteError, match="boom"):
            call("erlang", "error", [Atom("boom")])
        assert call("io", "format", [b"from afar~n"]) == "ok"
    with pytest.raises(CallTimeout):
        connection.rpc("timer", "sleep", [60_000], timeout=0.5)
    connection.close()


def test_a_mailbox_behind_headers(node: ErlangNode) -> None:
    with Node("cachedbox@harness", COOKIE, atom_cache=True) as ours, ours.mailbox("box") as box:
        connection = ours.connect(node.name, host=node.address)
        pid, ref = box.spawn(node.name, "erlang", "send", [box.pid, Atom("hello")], monitor=True)
        assert [box.receive(WAIT), box.receive(WAIT)] == [Atom("hello"), Down(ref, pid, Atom("normal"))]
        connection.cast("erlang", "send", [(Atom("box"), Atom("cachedbox@harness")), bytes(300_000)])
        assert box.receive(WAIT) == bytes(300_000)
        with Node("other@harness", COOKIE, atom_cache=True) as other:
            other.connect(ours.name, host="127.0.0.1", port=ours.listen("127.0.0.1", register=False))
            with other.mailbox() as theirs:
                theirs.send(("box", ours.name), (theirs.pid, bytes(200_000), Atom("a")))
                assert box.receive(WAIT) == (theirs.pid, bytes(200_000), Atom("a"))


def test_random_terms_with_headers(node: ErlangNode) -> None:
    plain = node.connect(local="plain@harness")
    cached = node.connect(local="cached@harness", atom_cache=True)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when something fails
    terms = RandomTerms(seed, plain.rpc("erlang", "whereis", [Atom("init")]) if node.otp >= 26 else None)
    for _ in range(100):
        sent = [terms.make() for _ in range(10)]
        assert exactly(cached.rpc("erlang", "hd", [[sent]])) == exactly(sent)
    for connection in (plain, cached):
        connection.close()
