"""EPMD's answer and the packets of a connection: whole, byte by byte, with more behind."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.epmd import NodeEntry, NotRegistered, PortReader, port_please
from harness.dist.framing import TICK, Deframer, frame
from harness.errors import DecodeError

ANSWER = struct.pack(">BBHBBHHH", 119, 0, 9100, 77, 0, 6, 5, 2) + b"n1" + b"\0\0"


def test_request() -> None:
    assert port_please("n1") == b"\0\x03zn1"


@pytest.mark.parametrize("trailing", [b"", b"\0\0more"])
def test_entry(trailing: bytes) -> None:
    entry = NodeEntry(9100, 6, 5, "n1")
    assert PortReader().receive(ANSWER + trailing) == entry
    reader = PortReader()
    answers = [reader.receive(bytes((byte,))) for byte in ANSWER]
    assert answers == [None] * (len(ANSWER) - 3) + [entry] * 3  # what follows the name is not waited for


def test_not_registered() -> None:
    reader = PortReader()
    assert reader.receive(b"w") is None
    assert reader.receive(b"\1") == NotRegistered(1)


def test_no_epmd() -> None:
    with pytest.raises(DecodeError, match="EPMD"):
        PortReader().receive(b"SSH-2.0")
    with pytest.raises(DecodeError, match="protocol"):
        PortReader().receive(ANSWER[:5] + b"\1" + ANSWER[6:])


@given(st.binary(max_size=60))
def test_any_answer(data: bytes) -> None:
    try:
        answer = PortReader().receive(data)
    except DecodeError:
        return
    assert answer is None or isinstance(answer, NodeEntry | NotRegistered)


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
