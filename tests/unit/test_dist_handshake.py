"""The handshake: recorded with real nodes, and our two sides joined in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist import Node
from harness.dist.protocol.flags import HEADER, HIDDEN, MANDATORY_25, MANDATORY_26, VISIBLE, Flag, lacking
from harness.dist.protocol.handshake import (
    Acceptor,
    Established,
    Event,
    Identity,
    Initiator,
    Name,
    Named,
    Refused,
    Send,
    simultaneous,
)
from harness.dist.protocol.handshake_messages import Ack, Challenge, Reply, Status, read_status
from harness.errors import HandshakeRefused, UsageError

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "handshake").glob("*.json"))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def replayed(told: dict[str, Any]) -> tuple[Initiator | Acceptor, bytes]:
    """Our side of a recorded handshake, and what it says first."""
    local = Identity(told["local"], told["cookie"], told["creation"], told["flags"])
    if told["role"] == "acceptor":
        answer = Named(*told["answer"]) if isinstance(told["answer"], list) else told["answer"]
        return Acceptor(local, told["challenge"], answer), b""
    initiator = Initiator(local, told["peer"], told["challenge"], insist=told["insist"])
    return initiator, initiator.start()


def replay(told: dict[str, Any], size: int) -> str:
    """What becomes of a recorded handshake when the node's bytes come in pieces of `size`."""
    handshake, ours = replayed(told)
    outcome = ""
    try:
        for who, text in told["said"]:
            data = bytes.fromhex(text)
            if who == "us":
                assert ours.startswith(data)
                ours = ours[len(data) :]
            elif not data:
                raise handshake.eof()
            for piece in pieces(data, size) if who == "node" else []:
                for event in handshake.receive(piece):
                    if isinstance(event, Send):
                        ours += event.data
                    elif isinstance(event, Refused):
                        outcome = event.error.reason
                    else:
                        outcome = "established"
                        assert event.peer == told["peer"]
                        assert [event.local, event.local_creation] == told["named"]
    except HandshakeRefused as refused:
        outcome = refused.reason
    assert not ours
    return outcome


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_recorded(path: Path, size: int) -> None:
    told = json.loads(path.read_text())
    assert replay(told, size) == told["outcome"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_recorded_and_damaged(path: Path) -> None:
    """Any byte of the node's changed: refused, or the same nodes meet all the same; nothing else is raised."""
    told = json.loads(path.read_text())
    for at, (who, text) in enumerate(told["said"]):
        for byte in range(len(text) // 2) if who == "node" else []:
            damaged = bytearray.fromhex(text)
            damaged[byte] ^= 0x41
            handshake, _ = replayed(told)
            try:
                for other, (speaker, data) in enumerate(told["said"]):
                    if speaker == "node":
                        handshake.receive(bytes(damaged) if other == at else bytes.fromhex(data))
            except HandshakeRefused:
                continue


# --- joined in memory -------------------------------------------------------------------------------------------------

A = Identity("a@a", "secret", 10)
B = Identity("b@b", "secret", 11)


def joined(
    ours: Identity,
    theirs: Identity,
    *,
    answer: str | Callable[[Name], str | Named] = "ok",
    size: int = 1000,
    insist: bool = True,
) -> tuple[list[Event], list[Event]]:
    """Both roles against each other, bytes in pieces of `size`: what came of it at the initiator, at the acceptor."""
    initiator, acceptor = Initiator(ours, theirs.name, 1, insist=insist), Acceptor(theirs, 2, answer)
    to_acceptor, to_initiator = initiator.start(), b""
    came: tuple[list[Event], list[Event]] = [], []
    while to_acceptor or to_initiator:
        sides = ((acceptor, to_acceptor), (initiator, to_initiator))
        to_acceptor = to_initiator = b""
        for side, data in sides:
            for piece in pieces(data, size):
                try:
                    events = side.receive(piece)
                except HandshakeRefused as error:
                    events = [Refused(error)]
                for event in events:
                    if not isinstance(event, Send):
                        came[side is acceptor].append(event)
                    elif side is acceptor:
                        to_initiator += event.data
                    else:
                        to_acceptor += event.data
    return came


def reasons(came: tuple[list[Event], list[Event]]) -> list[list[str]]:
    return [[event.error.reason if isinstance(event, Refused) else "" for event in side] for side in came]


@pytest.mark.parametrize("answer", ["ok", "ok_simultaneous", "alive"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("header", [2, 4])
def test_both_roles(answer: str, size: int, header: int) -> None:
    a, b = Identity("a@a", "secret", 10, header=header), Identity("b@b", "secret", 11, header=header)
    assert joined(a, b, answer=answer, size=size) == (
        [Established("b@b", HIDDEN, 11, b"", "a@a", 10)],
        [Established("a@a", HIDDEN, 10, b"", "b@b", 11)],
    )


@pytest.mark.parametrize("host", ["", "here"])
def test_a_name_is_given(host: str) -> None:
    asked: list[Name] = []

    def name(who: Name) -> Named:
        asked.append(who)
        return Named(f"x7@{who.name}", 99)

    nameless = Identity(host, "secret", 0)
    if not host:
        assert reasons(joined(nameless, B, answer=name)) == [["protocol"], []]  # x7@ is no name
    else:
        at_initiator, at_acceptor = joined(nameless, B, answer=name)
        assert at_initiator == [Established("b@b", HIDDEN | Flag.NAME_ME, 11, b"", "x7@here", 99)]
        assert at_acceptor == [Established("x7@here", HIDDEN | Flag.NAME_ME, 99, b"", "b@b", 11)]
    assert asked[0] == Name(HIDDEN | Flag.NAME_ME, 0, host)


def test_only_who_asked_for_a_name_gets_the_wish_back() -> None:
    """A node of OTP keeps the flag, and takes the name, only if the challenge has it too."""
    answers = {"here": Named("x7@here", 99), "a@a": "ok"}
    for name, answer in answers.items():
        said = Acceptor(B, 2, answer).receive(Initiator(Identity(name, "secret", 10), "b@b", 1).start())
        assert isinstance(said[1], Send)
        assert Challenge.read(said[1].data[2:]).flags == HIDDEN | (Flag.NAME_ME if name == "here" else 0)


@pytest.mark.parametrize("answer", ["ok", "alive", "nok"])
def test_who_gives_no_names(answer: str) -> None:
    refusal = answer if answer == "nok" else "not_allowed"
    assert reasons(joined(Identity("here", "secret", 0), B, answer=answer)) == [[refusal], [refusal]]


def test_a_name_nobody_asked_for() -> None:
    assert reasons(joined(A, B, answer=lambda who: Named("x@y", 1))) == [["not_allowed"], ["not_allowed"]]
    initiator = Initiator(A, "b@b", 1)
    with pytest.raises(HandshakeRefused, match="status makes no sense"):
        initiator.receive(framed(Named("x@y", 1).pack()))


@pytest.mark.parametrize("answer", ["nok", "not_allowed"])
def test_turned_away(answer: str) -> None:
    at_initiator, at_acceptor = joined(A, B, answer=answer)
    assert reasons((at_initiator, at_acceptor)) == [[answer], [answer]]
    (refused,) = at_initiator
    assert isinstance(refused, Refused)
    assert str(refused.error).startswith("b@b: handshake: ")


def test_a_status_of_tomorrow() -> None:
    with pytest.raises(HandshakeRefused, match=r"status makes no sense here: .*strange"):
        Initiator(A, "b@b", 1).receive(framed(b"sstrange"))


def test_giving_way_to_a_connection_that_lives() -> None:
    assert reasons(joined(A, B, answer="alive", insist=False)) == [["alive"], ["alive"]]


def test_simultaneous_attempts() -> None:
    assert simultaneous("a@a", initiator="b@b") == "ok_simultaneous"
    assert simultaneous("b@b", initiator="a@a") == "nok"


@pytest.mark.parametrize("flag", list(MANDATORY_25))
def test_each_missing_flag_is_named(flag: Flag) -> None:
    lame = MANDATORY_26 & ~flag
    at_initiator, at_acceptor = joined(Identity("a@a", "secret", 10, lame), B)
    at_initiator_too, _ = joined(A, Identity("b@b", "secret", 11, lame))
    for side in (at_initiator, at_acceptor, at_initiator_too):
        (refused,) = side
        assert isinstance(refused, Refused)
        assert refused.error.reason == "flags"
        assert f"flags {flag.name}" in str(refused.error)
    assert flag.name == lacking(lame, MANDATORY_26)
    assert not lacking(lame | Flag.MANDATORY_25_DIGEST, MANDATORY_26)  # it stands for all of them


def test_a_name_that_is_none() -> None:
    data = framed(Name(HIDDEN, 1, "nobody").pack())
    said, refused = Acceptor(B, 2).receive(data)
    assert said == Send(framed(b"snot_allowed"))
    assert isinstance(refused, Refused)
    assert "'nobody' is no node name" in str(refused.error)


@pytest.mark.parametrize("name", ["n@h\x1b[2J", "n@" + "h" * 254])
def test_a_name_that_cannot_be_shown_or_be_an_atom(name: str) -> None:
    with pytest.raises(HandshakeRefused, match="expected the name message"):
        Acceptor(B, 2).receive(framed(Name(HIDDEN, 1, name).pack()))


def test_cookies_are_checked_on_both_sides() -> None:
    at_initiator, at_acceptor = joined(A, Identity("b@b", "other", 11))
    assert reasons((at_initiator, at_acceptor)) == [[], ["cookie"]]
    initiator = Initiator(A, "b@b", 1)
    for event in Acceptor(B, 2).receive(initiator.start()):
        assert isinstance(event, Send)
        initiator.receive(event.data)
    assert "most likely the cookies differ: closed without acknowledging ours" in str(initiator.eof())
    assert initiator.eof().reason == "cookie"
    with pytest.raises(HandshakeRefused, match="cookies differ: the node accepted ours and showed another"):
        initiator.receive(framed(Ack(bytes(16)).pack()))


def test_a_cookie_has_the_bytes_of_its_characters() -> None:
    assert Identity("a@a", "caf\u00e9", 1).cookie_bytes == b"caf\xe9"
    assert Identity("a@a", "\u03b1", 1).cookie_bytes == "\u03b1".encode()


def test_a_close_is_read_by_its_moment() -> None:
    initiator, acceptor = Initiator(A, "b@b", 1), Acceptor(B, 2)
    assert "instead of sending the status message" in str(initiator.eof())
    assert "instead of sending the name message" in str(acceptor.eof())
    acceptor.receive(initiator.start())
    assert "a@a: handshake: closed instead of sending the challenge reply message" in str(acceptor.eof())


def test_another_node_answers() -> None:
    initiator = Initiator(A, "c@c", 1)
    events = Acceptor(B, 2).receive(initiator.start())
    answer = b"".join(event.data for event in events if isinstance(event, Send))
    with pytest.raises(HandshakeRefused, match="answered is b@b"):
        initiator.receive(answer)


def test_no_node_at_all() -> None:
    with pytest.raises(HandshakeRefused, match="expected the status message, got '485454502f"):
        Initiator(A, "b@b", 1).receive(framed(b"HTTP/1.1 400"))
    with pytest.raises(HandshakeRefused, match="speaks TLS"):
        Initiator(A, "b@b", 1).receive(b"\x15\x03\x03\0\2\2\x46")


def test_bytes_after_the_handshake_are_kept() -> None:
    initiator, acceptor = Initiator(A, "b@b", 1), Acceptor(B, 2)
    reply = b""
    for event in acceptor.receive(initiator.start()):
        assert isinstance(event, Send)
        reply += b"".join(sent.data for sent in initiator.receive(event.data) if isinstance(sent, Send))
    ack, established = acceptor.receive(reply + b"first packet")
    assert isinstance(established, Established)
    assert established.rest == b"first packet"
    assert isinstance(ack, Send)
    (at_initiator,) = initiator.receive(ack.data + b"\0\0\0\0")
    assert isinstance(at_initiator, Established)
    assert at_initiator.rest == b"\0\0\0\0"


# --- messages and flags -----------------------------------------------------------------------------------------------


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("message", "read", "open_ended"),
    [
        (Name(HIDDEN, 5, "n\u00e9@h"), Name.read, True),
        (Challenge(HIDDEN, 0xFFFFFFFF, 5, "n1@h"), Challenge.read, True),
        (Named("x@h", 0xFFFFFFFF), read_status, True),
        (Reply(7, bytes(range(16))), Reply.read, False),
        (Ack(bytes(range(16))), Ack.read, False),
    ],
)
def test_messages_whole_cut_and_with_more_behind(message: Any, read: Any, open_ended: bool) -> None:
    packed = message.pack()
    assert read(packed) == message
    for end in range(len(packed)):
        if isinstance(message, Named) and 0 < end < 7:
            assert read(packed[:end]) == Status("named:"[: end - 1])  # a status nobody knows
            continue
        with pytest.raises((ValueError, struct.error)):
            read(packed[:end])
    if open_ended:
        assert read(packed + b"more") == message
    else:
        with pytest.raises(ValueError, match="no challenge"):
            read(packed + b"x")


def test_what_is_offered() -> None:
    assert not HIDDEN & (Flag.PUBLISHED | HEADER | Flag.SEND_SENDER)
    assert VISIBLE == HIDDEN | Flag.PUBLISHED
    assert MANDATORY_25 == 0x1070F94  # erts_internal:get_dflags() of OTP 25
    assert MANDATORY_26 == 0x403070F94  # ... of OTP 27


def test_all_that_nodes_offer_is_known() -> None:
    known = sum(Flag)
    for otp in (25, 27):
        theirs = 0xD07DF7FBD  # in every recorded challenge of both
        told = json.loads(next(path for path in GOLDEN if path.stem == f"ok-otp{otp}").read_text())
        assert theirs.to_bytes(8, "big").hex() in "".join(text for who, text in told["said"] if who == "node")
        assert not theirs & ~known


def test_a_cookie_is_not_shown() -> None:
    assert "secret" not in repr(A)


@given(st.lists(st.binary(max_size=40)), st.booleans(), st.sampled_from([b"", b"sok", b"N", b"snamed:", b"salive"]))
def test_any_bytes(messages: list[bytes], dialled: bool, first: bytes) -> None:
    side = Acceptor(B, 2, "alive") if dialled else Initiator(A, "b@b", 1)
    try:
        for message in (first, *messages):
            side.receive(framed(message))
            side.receive(message)
    except HandshakeRefused:
        return


@pytest.mark.parametrize("cookie", ["\udcff\udcfe", "secret\ud800"])  # `--cookie $'\xff\xfe'`, and a lone surrogate
def test_a_cookie_that_is_no_text_is_not_the_peers_fault(cookie: str) -> None:
    with pytest.raises(UsageError, match="no characters") as caught:
        Identity("a@a", cookie, 10)
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="cookie"):
        Node("a@a", cookie)
