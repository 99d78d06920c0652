"""The handshake: recorded with real nodes, and our two sides joined in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.handshake import HIDDEN, MANDATORY, Acceptor, Established, Event, Flag, Identity, Initiator, Send
from harness.errors import HandshakeRefused

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "handshake").glob("*.json"))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def replay(told: dict[str, Any], size: int) -> str:
    """What becomes of a recorded handshake when the node's bytes come in pieces of `size`."""
    local = Identity(told["local"], told["cookie"], told["creation"], told["flags"])
    handshake = Initiator(local, told["peer"], told["challenge"])
    ours = handshake.start()
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
                    else:
                        outcome = "established"
                        assert event.peer == told["peer"]
    except HandshakeRefused as refused:
        outcome = refused.reason
    assert not ours
    return outcome


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_recorded(path: Path, size: int) -> None:
    told = json.loads(path.read_text())
    assert replay(told, size) == told["outcome"]


def joined(ours: Identity, theirs: Identity, *, status: str = "ok", size: int = 1000) -> list[Event]:
    """Both roles against each other, bytes in pieces of `size`; the Established events of both."""
    initiator, acceptor = Initiator(ours, theirs.name, 1), Acceptor(theirs, 2, status)
    to_acceptor, to_initiator = initiator.start(), b""
    done: list[Event] = []
    while to_acceptor or to_initiator:
        sides = ((acceptor, to_acceptor), (initiator, to_initiator))
        to_acceptor = to_initiator = b""
        for side, data in sides:
            for piece in pieces(data, size):
                for event in side.receive(piece):
                    if isinstance(event, Established):
                        done.append(event)
                    elif side is acceptor:
                        to_initiator += event.data
                    else:
                        to_acceptor += event.data
    return done


A = Identity("a@a", "secret", 10)
B = Identity("b@b", "secret", 11)


@pytest.mark.parametrize("status", ["ok", "ok_simultaneous", "alive"])
@pytest.mark.parametrize("size", [1, 1000])
def test_both_roles(status: str, size: int) -> None:
    at_acceptor, at_initiator = joined(A, B, status=status, size=size)
    assert at_acceptor == Established("a@a", HIDDEN, 10, b"")
    assert at_initiator == Established("b@b", HIDDEN, 11, b"")


@pytest.mark.parametrize("status", ["nok", "not_allowed", "strange"])
def test_refused(status: str) -> None:
    with pytest.raises(HandshakeRefused, match="b@b") as refused:
        joined(A, B, status=status)
    assert refused.value.reason == (status if status != "strange" else "protocol")


def test_missing_flags_are_not_allowed() -> None:
    with pytest.raises(HandshakeRefused) as refused:
        joined(Identity("a@a", "secret", 10, MANDATORY & ~Flag.MAP_TAG), B)
    assert refused.value.reason == "not_allowed"
    with pytest.raises(HandshakeRefused, match=r"lacks .*MAP_TAG"):
        joined(A, Identity("b@b", "secret", 11, MANDATORY & ~Flag.MAP_TAG))


def test_cookies_are_checked_on_both_sides() -> None:
    with pytest.raises(HandshakeRefused, match="cookies differ"):
        joined(A, Identity("b@b", "other", 11))
    initiator = Initiator(A, "b@b", 1)
    acceptor = Acceptor(B, 2)
    for event in acceptor.receive(initiator.start()):
        assert isinstance(event, Send)
        initiator.receive(event.data)
    with pytest.raises(HandshakeRefused, match="cookies differ"):
        initiator.receive(b"\0\x11a" + bytes(16))


def test_a_close_is_read_by_its_moment() -> None:
    initiator = Initiator(A, "b@b", 1)
    assert initiator.eof().reason == "closed"
    for event in Acceptor(B, 2).receive(initiator.start()):
        assert isinstance(event, Send)
        initiator.receive(event.data)
    assert initiator.eof().reason == "cookie"


def test_another_node_answers() -> None:
    initiator = Initiator(A, "c@c", 1)
    events = Acceptor(B, 2).receive(initiator.start())
    answer = b"".join(event.data for event in events if isinstance(event, Send))
    with pytest.raises(HandshakeRefused, match="answered is b@b"):
        initiator.receive(answer)


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


def test_what_is_offered() -> None:
    assert not HIDDEN & (Flag.PUBLISHED | Flag.DIST_HDR_ATOM_CACHE | Flag.FRAGMENTS)
    assert MANDATORY == 0x1070F94
    assert HIDDEN & 0x403070F94 == 0x403070F94


def test_a_cookie_is_not_shown() -> None:
    assert "secret" not in repr(A)


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_any_bytes(messages: list[bytes], dialled: bool) -> None:
    side = Acceptor(B, 2) if dialled else Initiator(A, "b@b", 1)
    try:
        for message in messages:
            side.receive(len(message).to_bytes(2, "big") + message)
            side.receive(message)
    except HandshakeRefused:
        return
