"""Answers found in what was read, by the Inbox in Python and by the compiled one alike."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist import core, inbox
from harness.dist.calls import Envelope
from harness.dist.inbox import DOWN, REPLY
from harness.errors import DecodeError
from harness.etf import Atom, Pid, Reference, encode

MODULES: list[ModuleType] = [inbox]
if core.COMPILED:
    from harness.dist import _speed

    MODULES.append(_speed)
everywhere = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)

LOCAL, CREATION, SERIES = "h@h", 0x01000000, 3
THEM = Pid(Atom("n1@n1"), 90, 1, 5)
ME = Envelope(LOCAL, CREATION, SERIES).pid


def ref(number: int) -> Reference:
    return Reference(Atom(LOCAL), CREATION, (SERIES, number >> 32, number & 0xFFFFFFFF))


def framed(control: Any, *message: Any) -> bytes:
    data = b"p\x83" + encode(control) + b"".join(b"\x83" + encode(term) for term in message)
    return len(data).to_bytes(4, "big") + data


def replied(number: int, result: Any) -> bytes:
    return framed((22, THEM, ME), (ref(number), result))


def ended(number: int, result: Any) -> bytes:
    return framed((28, THEM, ME, ref(number)), (ref(number), Atom("return"), result))


def spawned(number: int) -> bytes:
    return framed((31, ref(number), ME, 2, THEM))


class Reader:
    """An inbox that has learnt from one answer of each kind, and the envelope that taught it."""

    def __init__(self, module: ModuleType) -> None:
        self.envelope = Envelope(LOCAL, CREATION, SERIES)
        self.inbox = self.envelope.inbox = module.Inbox()
        for frame in (replied(1, 1), spawned(1), ended(1, 1)):
            self.envelope.receive(frame[4:])
        self.module = module

    def receive(self, data: bytes, calls: dict[int, Any]) -> list[Any]:
        self.inbox.receive(data, calls)
        answered = list(self.inbox.answered)
        self.inbox.answered.clear()
        return answered

    def calls(self, *numbers: int) -> dict[int, Any]:
        return {number: self.module.Call(b"frame") for number in numbers}


@everywhere
def test_answers_reach_their_calls(module: ModuleType) -> None:
    reader = Reader(module)
    big = (1 << 40) + 2
    calls = reader.calls(2, big, 4, 5)
    two, large, four = calls[2], calls[big], calls[4]
    data = replied(2, [1, 2]) + b"\0\0\0\0" + spawned(big) + ended(big, b"x") + replied(3, 0) + replied(4, Atom("ok"))
    assert reader.receive(data, calls) == [two, large, four]
    assert list(calls) == [5]
    assert [call.kind for call in (two, large, four)] == [REPLY, DOWN, REPLY]
    assert [reader.envelope.result(call) for call in (two, four)] == [[1, 2], "ok"]
    assert reader.envelope.result(large) == (ref(big), "return", b"x")
    assert reader.inbox.others == [b""]  # the answer to 3 was too late for anybody


@everywhere
def test_what_looks_similar_is_not_an_answer(module: ModuleType) -> None:
    reader = Reader(module)
    calls = reader.calls(7)
    strangers = [
        framed((22, THEM, ME), (Reference(Atom(LOCAL), CREATION + 1, (SERIES, 0, 7)), 1)),
        framed((22, THEM, ME), (Reference(Atom(LOCAL), CREATION, (SERIES + 1, 0, 7)), 1)),
        framed((28, THEM, Pid(ME.node, 9, 0, CREATION), ref(7)), 1),
        framed((31, ref(7), ME, 0, Atom("badopt"))),
        replied(7, 1)[:4] + b"\x70",
    ]
    strangers[-1] = len(strangers[-1][4:]).to_bytes(4, "big") + strangers[-1][4:]
    assert reader.receive(b"".join(strangers), calls) == []
    assert reader.inbox.others == [frame[4:] for frame in strangers]
    assert list(calls) == [7]


@everywhere
@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_however_it_arrives(module: ModuleType, cuts: list[int]) -> None:
    reader = Reader(module)
    calls = reader.calls(*range(2, 6))
    expected = list(calls.values())
    data = replied(2, 1) + b"\0\0\0\0" + ended(3, 2) + spawned(4) + framed((1, THEM, ME)) + replied(4, 3) + ended(5, 4)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [
        call
        for start, stop in itertools.pairwise(places)
        if start < stop
        for call in reader.receive(data[start:stop], calls)
    ]
    assert got == expected
    assert reader.inbox.others == [b"", framed((1, THEM, ME))[4:]]


@everywhere
@given(data=st.binary(max_size=60), damaged=st.integers(0, 300), value=st.integers(0, 255))
def test_damage_is_told_or_passed_on(module: ModuleType, data: bytes, damaged: int, value: int) -> None:
    reader = Reader(module)
    raw = bytearray(replied(2, 1) + ended(3, 2) + spawned(4) + data)
    raw[damaged % len(raw)] = value
    calls = reader.calls(2, 3)
    try:
        for call in reader.receive(bytes(raw), calls):
            reader.envelope.result(call)
    except DecodeError:
        return
    assert all(type(packet) is bytes for packet in reader.inbox.others)


@everywhere
def test_a_packet_beyond_the_limit(module: ModuleType) -> None:
    with pytest.raises(DecodeError, match="limit"):
        Reader(module).inbox.receive(b"\xff\xff\xff\xff", {})


@everywhere
@given(
    pieces=st.tuples(*[st.binary(max_size=40)] * 4),
    again=st.none() | st.binary(max_size=9),
    number=st.integers(0, 2**64 - 1),
)
def test_frames_are_spliced(
    module: ModuleType, pieces: tuple[bytes, bytes, bytes, bytes], again: bytes | None, number: int
) -> None:
    head, middle, args, tail = pieces
    digits = number.to_bytes(8, "big")
    expected = head + digits + middle + (b"" if again is None else digits + again) + args + tail
    assert module.splice(head, number, middle, again, args, tail) == len(expected).to_bytes(4, "big") + expected
