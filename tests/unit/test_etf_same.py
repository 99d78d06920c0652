"""When two terms are the same one, and that to tell takes time in proportion to their size."""

from __future__ import annotations

import struct
import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest

from harness.etf import (
    Atom,
    BitString,
    DecodeError,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Reference,
    StrictAtom,
    decode,
    encode,
    same_term,
)
from harness.etf.decode import decode as pure_decode
from harness.etf.options import DecodeOptions
from harness.etf.terms import distinct, identity, map_of

WAYS = pytest.mark.parametrize("read", [decode, pure_decode], ids=["chosen", "pure"])
ONE = b"F?\xf0\0\0\0\0\0\0"


def nested(levels: int, leaf: int) -> bytes:
    """``#{1 => .., 1.0 => 0}`` within itself."""
    raw = b"b" + struct.pack(">i", leaf)
    for _ in range(levels):
        raw = b"t\0\0\0\2a\1" + raw + ONE + b"a\0"
    return raw


@WAYS
@pytest.mark.parametrize("kind", [b"", b"h\1", b"l\0\0\0\1"])
def test_maps_as_keys_do_not_double_the_work_with_every_level(read: Any, kind: bytes) -> None:
    """-1 and -2 have one hash in Python: with it, comparing 400 levels would outlast the sun."""
    end = b"j" if kind[:1] == b"l" else b""
    one, other = (kind + nested(400, leaf) + end for leaf in (-1, -2))
    term, _ = read(b"t\0\0\0\2" + one + b"a\1" + other + b"a\2")
    assert len(term) == 2
    assert [value for _, value in term.items()] == [1, 2]
    with pytest.raises(DecodeError, match="twice"):
        read(b"t\0\0\0\3" + one + b"a\1" + other + b"a\2" + one + b"a\3")


def nested_keys(levels: int) -> Any:
    term: Any = 1
    for _ in range(levels):
        term = PairMap(((term, -1), ([], -2), ([term], 3)))
    return term


def test_comparing_is_not_exponential_either() -> None:
    one, other = (decode(encode(nested_keys(12)))[0] for _ in range(2))
    assert one == other
    assert one is not other
    assert hash(one) == hash(other)


def test_the_cost_grows_with_the_size_only() -> None:
    def steps(count: int) -> int:
        """Functions called to compare two maps of so many pairs, in opposite order."""
        pairs: tuple[Any, ...] = tuple(((number, []), number) for number in range(count))
        one, other = PairMap(pairs), PairMap(pairs[::-1])
        called = 0

        def count_call(_frame: object, event: str, _value: object) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            assert one == other
        finally:
            sys.setprofile(None)
        return called

    assert steps(2_000) < steps(200) * 11


@WAYS
def test_tails_of_tails_are_one_list(read: Any) -> None:
    count = 100_000
    raw = b"l\0\0\0\1a\1" * count
    assert read(raw + b"j")[0] == [1] * count  # no nesting: it is one list
    assert read(raw + b"k\0\1\2")[0] == [1] * count + [2]
    assert read(raw + b"a\2")[0] == ImproperList((1,) * count, 2)
    assert read(b"l\0\0\0\0l\0\0\0\0a\2")[0] == 2
    assert read(b"h\2l\0\0\0\1l\0\0\0\1a\1jl\0\0\0\1a\2ja\3")[0] == ([[1], 2], 3)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.0, -0.0, False),  # the same up to OTP 26
        (1, 1.0, False),
        (1, True, False),
        (True, Atom("true"), True),
        (None, Atom("undefined"), True),
        (Atom("a"), "a", False),
        (StrictAtom("a"), Atom("a"), True),
        ("a", b"a", False),
        (b"a", bytearray(b"a"), True),
        (BitString(b"\xff", 1), BitString(b"\x80", 1), True),
        (BitString(b"\x80", 1), BitString(b"\x80", 2), False),
        (BitString(b"a", 8), b"a", True),
        ([], (), False),
        ([1], [1.0], False),
        ([[1], 2], [[1, 2]], False),
        ({1: 2, 3: 4}, OrderedDict([(3, 4), (1, 2)]), True),
        ({0.0: 1}, {-0.0: 1}, False),
        ({1: 2}, PairMap(((1, 2),)), True),
        ({1: 2}, PairMap(((1.0, 2),)), False),
        (PairMap(((0.0, 1), (-0.0, 2))), PairMap(((-0.0, 2), (0.0, 1))), True),
        (PairMap(((0.0, 1), (-0.0, 2))), PairMap(((0.0, 2), (-0.0, 1))), False),
        (ImproperList((1,), 2), ImproperList((1,), 2.0), False),
        (Pid(Atom("a@b"), 1, 2, 3), Pid("a@b", 1, 2, 3), True),  # type: ignore[arg-type]
        (Pid(Atom("a@b"), 1, 2, 3), Pid(Atom("a@b"), 1, 2, 4), False),
        (2**63, 2**63 + 1, False),
        (255, -1, False),
    ],
)
def test_the_same_term(one: Any, other: Any, same: bool) -> None:
    assert same_term(one, other) is same_term(other, one) is same
    assert same_term([one], [other]) is same
    assert distinct([one, other]) is not same


def test_a_map_for_a_dict_is_equal_to_it() -> None:
    assert PairMap(((1, 2),)) == {1: 2} == PairMap(((1, 2),))
    assert decode(encode(PairMap(((1, 2),))))[0] == PairMap(((1, 2),))
    assert PairMap(((1, 2),)) != {1: 3}
    assert PairMap(((1, 2),)) != 1


@WAYS
def test_both_zeros_may_be_keys(read: Any) -> None:
    odd = PairMap(((0.0, 1), (-0.0, 2)))
    back = read(encode(odd))[0]
    assert [(str(key), value) for key, value in back.items()] == [("0.0", 1), ("-0.0", 2)]
    assert back == odd


def test_what_cannot_be_made() -> None:
    for pairs in ([1, 2], ((1, 2, 3),), 5, None):
        with pytest.raises(TypeError, match="pairs"):
            PairMap(pairs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tail"):
        ImproperList((1,), [2])
    assert ImproperList((1,), ImproperList((2,), 3)) == ImproperList((1, 2), 3)
    with pytest.raises(ValueError, match="4 bytes each, got 3"):
        Reference(Atom("a@b"), 1, b"\0\0\1")  # type: ignore[arg-type]
    reference = Reference(Atom("a@b"), 1, [1, 2])  # type: ignore[arg-type]
    assert decode(encode(reference))[0] == reference
    assert hash(reference)


@WAYS
@pytest.mark.parametrize("kind", [b"h\1", b"l\0\0\0\1a\1", b"l\0\0\0\1", b"t\0\0\0\1a\1"], ids=repr)
@pytest.mark.parametrize("levels", [250, 400, 950, 9_000])
def test_a_small_stack_is_enough(read: Any, kind: bytes, levels: int) -> None:
    """Of deep keys it is Python that takes the hash, in C, one function call for each level."""
    closing = b"j" if kind == b"l\0\0\0\1" else b""
    if kind == b"l\0\0\0\1a\1":  # improper within improper
        kind, closing = b"l\0\0\0\1", b"a\1"
    raw = b"t\0\0\0\1" + kind * levels + b"w\1a" + closing * levels + b"a\2"
    lengths: list[int] = []

    def run() -> None:
        term, _ = read(raw, 0, DecodeOptions(max_depth=10_000))
        lengths.extend([len(term), len(encode(term)), len(identity(term))])

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert lengths == [1, len(raw), 16]


def test_keys_beyond_a_depth_are_not_for_a_dict() -> None:
    key: Any = ()
    for _ in range(255):
        key = (key,)
    assert type(map_of([key], [1])) is dict
    pid = Pid(Atom("a@b"), 1, 2, 3)
    for deep in (
        (key, key),
        ((key,),),
        ImproperList((1,), (key,)),
        Fun(Atom("m"), 1, bytes(16), 1, 2, 3, pid, (key, (key,))),
    ):
        assert type(map_of([((deep,),)], [1])) is PairMap
