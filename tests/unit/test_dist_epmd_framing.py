"""EPMD's answer and the packets of a connection: whole, byte by byte, with more behind."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.core import splice
from harness.dist.protocol.epmd import (
    NamesReader,
    NodeEntry,
    NotRegistered,
    PortReader,
    Registered,
    RegisterReader,
    names,
    port_please,
    register,
)
from harness.dist.protocol.framing import TICK, Deframer, frame
from harness.errors import DecodeError, EncodeError

# All but the first as an EPMD of OTP 27 wrote them
ANSWER = struct.pack(">BBHBBHHH", 119, 0, 9100, 77, 0, 6, 5, 2) + b"n1" + b"\0\0"
REGISTERED, OLD_REGISTERED, TAKEN = b"\x76\0\x6b\3\x8f\x8a", b"\x79\0\0\2", b"\x79\1\0\x63"
NAMES = b"\0\0\x11\x11" + b"name x at port 41633\nname n1 at port 9100\n"


def test_requests() -> None:
    assert port_please("n1") == b"\0\x03zn1"
    assert names() == b"\0\x01n"
    assert register("ab", 0x4D48) == bytes((0, 15, 120, 0x4D, 0x48, 72, 0, 0, 6, 0, 6, 0, 2)) + b"ab" + b"\0\0"
    visible = register("\u00e9", 1, hidden=False, extra=b"xyz")
    assert visible == bytes((0, 18, 120, 0, 1, 77, 0, 0, 6, 0, 6, 0, 2)) + "\u00e9".encode() + b"\0\3xyz"


def test_a_packet_that_the_protocol_has_no_room_for() -> None:
    """Seen before anything is copied."""
    huge = bytes(1 << 32)
    for build in (lambda: frame(b"p", huge), lambda: splice(b"p", 1, b"", b"", huge, b"")):
        with pytest.raises(EncodeError, match=r"a packet of 42949\d+ bytes, the protocol allows 4294967295"):
            build()


@pytest.mark.parametrize("trailing", [b"", b"\0\0more"])
def test_entry(trailing: bytes) -> None:
    entry = NodeEntry(9100, 6, 5, "n1", hidden=False)
    assert PortReader().receive(ANSWER + trailing) == entry
    reader = PortReader()
    answers = [reader.receive(bytes((byte,))) for byte in ANSWER]
    assert answers == [None] * (len(ANSWER) - 3) + [entry] * 3  # what follows the name is not waited for


def test_a_node_that_is_hidden_or_listens_nowhere() -> None:
    entry = PortReader().receive(struct.pack(">BBHBBHHH", 119, 0, 0, 72, 0, 6, 6, 0))
    assert entry == NodeEntry(0, 6, 6, "", hidden=True)


def test_not_registered() -> None:
    reader = PortReader()
    assert reader.receive(b"w") is None
    assert reader.receive(b"\1") == NotRegistered(1)


@pytest.mark.parametrize(
    ("data", "answer"),
    [(REGISTERED, Registered(0x6B038F8A)), (OLD_REGISTERED, Registered(2)), (TAKEN, NotRegistered(1))],
)
def test_registration(data: bytes, answer: object) -> None:
    assert RegisterReader().receive(data) == answer
    assert RegisterReader().receive(data + b"more") == answer
    reader = RegisterReader()
    told = [reader.receive(bytes((byte,))) for byte in data]
    first = told.index(answer)
    assert first == (1 if data is TAKEN else len(data) - 1)
    assert set(told[:first]) <= {None}


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_names(size: int) -> None:
    reader = NamesReader()
    for at in range(0, len(NAMES), size):
        assert reader.receive(NAMES[at : at + size]) is None
    assert reader.receive(b"") == {"x": 41633, "n1": 9100}


def test_no_names() -> None:
    reader = NamesReader()
    assert reader.receive(NAMES[:4]) is None
    assert reader.receive(b"") == {}
    for wrong in (b"\0", b"\0\0\x11\x11HTTP/1.1 400\r\n"):
        reader = NamesReader()
        assert reader.receive(wrong) is None
        with pytest.raises(DecodeError):
            reader.receive(b"")
    flood = NamesReader()
    assert flood.receive(bytes(1 << 20)) is None
    with pytest.raises(DecodeError, match="more than"):
        flood.receive(b"x")


def test_no_epmd() -> None:
    for reader in (PortReader(), RegisterReader()):
        with pytest.raises(DecodeError, match="EPMD"):
            reader.receive(b"SSH-2.0")
    with pytest.raises(DecodeError, match="protocol"):
        PortReader().receive(ANSWER[:5] + b"\1" + ANSWER[6:])


@given(
    st.sampled_from([PortReader, RegisterReader, NamesReader]),
    st.sampled_from([b"", b"w\0", b"v\0", b"y", NAMES]),
    st.binary(max_size=60),
    st.booleans(),
)
def test_any_answer(kind: type[Any], start: bytes, data: bytes, ends: bool) -> None:
    reader = kind()
    try:
        answer = reader.receive(start + data)
        if ends and answer is None:
            answer = reader.receive(b"")
    except DecodeError:
        return
    assert answer is None or isinstance(answer, NodeEntry | NotRegistered | Registered | dict)


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 50)), st.binary(max_size=3))
def test_packets_however_cut(packets: list[bytes], cuts: list[int], unfinished: bytes) -> None:
    stream = b"".join(frame(packet) for packet in packets) + unfinished
    deframer = Deframer()
    got: list[bytes] = []
    for cut in [*cuts, len(stream)]:
        got += deframer.receive(stream[:cut])
        stream = stream[cut:]
    assert got == packets


def test_byte_by_byte() -> None:
    deframer = Deframer()
    stream = frame(b"a", b"bc") + TICK + frame(b"d" * 300)
    got = [packet for byte in stream for packet in deframer.receive(bytes((byte,)))]
    assert got == [b"abc", b"", b"d" * 300]


def test_a_packet_over_the_limit() -> None:
    assert Deframer(3).receive(frame(b"abc")) == [b"abc"]
    with pytest.raises(DecodeError, match="limit 3"):
        Deframer(3).receive(frame(b"abcd")[:4])
