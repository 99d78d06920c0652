"""What can go wrong in C only: memory, references, depth, values that change while they are written."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import harness.etf
from harness.errors import DecodeError, EncodeError
from harness.etf.decode import decode as pure_decode
from harness.etf.encode import encode as pure_encode
from harness.etf.encode import encode_within
from harness.etf.options import DEFAULT, DecodeOptions, EncodeOptions
from harness.etf.terms import Atom, BitString, Export, ImproperList, PairMap, Pid, Port, Reference

speed = pytest.importorskip("harness.etf._speed", reason="not built here")
decode, encode = speed.decode, speed.encode
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(("pure", "compiled"), [("", True), ("1", False)])
def test_the_environment_chooses(pure: str, compiled: bool) -> None:
    program = "import harness.etf as etf; print(etf.COMPILED, type(etf.decode).__name__)"
    environment = {**os.environ, "HARNESS_PURE": pure}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    kind = type(decode if compiled else pure_decode).__name__
    assert told.stdout.split() == [str(compiled), kind]


WELL_DONE = [
    [0, 255, 256, -1, -(2**31), 2**31, -(2**63), 2**64 - 1, -(2**64) + 1, 2**64, 2**2100],
    (
        Atom("a"),
        Atom("é"),
        Atom("é" * 200),
        Atom("a" * 99),
        True,
        False,
        None,
        1.5,
        -0.0,
        b"",
        b"x" * 99,
        (),
        [],
        [1, 2],
    ),
    {1: 2, b"k": [Atom("v")], (1,): {}},
    PairMap(((1, 2), (1.0, []), ([], {}))),
    ImproperList((1, 2), 3),
    tuple(range(300)),
    [Pid(Atom("a@b"), 1, 2, 3), Port(Atom("a@b"), 2**64 - 1, 3), Reference(Atom("a@b"), 1, (2, 3, 4))],
    [Export(Atom("m"), Atom("f"), 1), BitString(b"\x80", 1)],
]


@pytest.mark.parametrize("term", WELL_DONE)
def test_it_does_itself_what_it_is_for(term: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Giving up is always right, and hides that it is slow."""
    raw = pure_encode(term)
    given_up: list[Any] = []

    def within(value: Any, options: EncodeOptions, depth: int) -> bytes:
        given_up.append(value)
        return encode_within(value, options, depth)

    monkeypatch.setattr(speed, "pure_decode", None)
    monkeypatch.setattr(speed, "encode_within", within)
    assert repr(decode(raw)) == repr((term, len(raw)))
    assert encode(term) == raw
    rare = (PairMap, ImproperList, Port, Export, BitString)
    assert all(isinstance(value, rare) or (type(value) is int and abs(value) >= 2**63) for value in given_up)


@pytest.mark.parametrize(
    "raw", [b"R\1", b"XR\0" + bytes(12), b"d\0\1a", b"d\0\1\xe9", b"s\1a", b"c1.0".ljust(32, b"\0")]
)
def test_it_does_itself_what_nodes_write_otherwise(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = [Atom("a"), True]
    expected = pure_decode(raw, 0, DEFAULT, cache)
    monkeypatch.setattr(speed, "pure_decode", None)
    assert repr(decode(raw, 0, DEFAULT, cache)) == repr(decode(raw, 0, DEFAULT, tuple(cache))) == repr(expected)


COUNTS = """
import gc, sys
from fuzz.targets import read_corpus
from fuzz.terms import WAYS
from harness.errors import DecodeError
from harness.etf._speed import decode, encode
from harness.etf.decode import decode as pure_decode
from harness.etf.terms import Atom, Pid

inputs = read_corpus("terms.compiled")

def work():
    for data in inputs:
        for options, cache in WAYS:
            try:
                term, _ = decode(data, 1, options, cache)
            except DecodeError:
                continue
            encode(term)

def counts():
    gc.collect()
    return [sys.getallocatedblocks(), *map(sys.getrefcount, everybodys)]

everybodys = (None, True, False, 1, 255, (), b"", Atom, Pid, pure_decode)
work()
before = counts()
for _ in range(10):
    work()
after = counts()
print(*(now - then for now, then in zip(after, before, strict=True)))
"""


def test_nothing_is_kept_and_nothing_lost() -> None:
    """The same work again leaves as many objects behind as were there, and everybody's objects their references; in a
    process in which nobody else makes or drops any."""
    program = [sys.executable, "-c", COUNTS]
    told = subprocess.run(program, cwd=TESTS, capture_output=True, text=True, check=True)
    blocks, *references = map(int, told.stdout.split())
    assert abs(blocks) < 100
    assert all(abs(grown) < 10 for grown in references), references


def test_the_collector_is_spared_what_cannot_be_in_a_cycle() -> None:
    flat, deep = decode(encode([(1, b"x", Atom("a"), 1.5, (2,)), (1, [])]))[0]
    assert not gc.is_tracked(flat)
    assert gc.is_tracked(deep)
    gc.collect()
    deep[1].append(deep)
    del flat, deep
    assert gc.collect() >= 2


@pytest.mark.parametrize("head", [b"l", b"i", b"t"])
def test_claims_reserve_nothing_beyond_the_input(head: bytes) -> None:
    """Each of the nested containers claims what is left of the input; all of them together cannot have it."""
    size, levels = 1 << 20, 500
    data = b"".join(head + struct.pack(">I", (size - 5 * level) // 2 - 8) for level in range(levels)).ljust(size, b"j")
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(data, 0, DecodeOptions(max_containers=10))
        assert tracemalloc.get_traced_memory()[1] < 12 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [255, 256, 257, 5_000, 10_000])
def test_depth_beyond_that_of_c(levels: int) -> None:
    raw = b"h\1" * levels + b"a\1"
    term, end = decode(raw, 0, DecodeOptions(max_depth=levels))
    assert end == len(raw)
    assert encode(term) == raw
    with pytest.raises(DecodeError, match=f"deeper than {levels - 1}"):
        decode(raw, 0, DecodeOptions(max_depth=levels - 1))


def test_a_knot_is_refused() -> None:
    knot: list[Any] = [1]
    knot.append({"again": knot})
    with pytest.raises(EncodeError, match="contain itself"):
        encode(knot)


class Changing:
    """Encoded, it changes the container that it is in."""

    def __init__(self, container: Any, calls: int = 1) -> None:
        self.container, self.calls = container, calls

    def __etf__(self) -> Any:
        if self.calls:
            self.calls -= 1
            self.container.clear()
        return 1


def test_a_list_that_shrinks_while_it_is_written() -> None:
    shrinking: list[Any] = []
    shrinking += [Changing(shrinking), *[[number] for number in range(1000)]]
    assert encode(shrinking) == pure_encode([1, *[[number] for number in range(1000)]])  # as it was
    assert shrinking == []


def test_a_map_that_shrinks_while_it_is_written() -> None:
    shrinking: dict[Any, Any] = {}
    shrinking.update({number: [number] for number in range(1000)}, first=Changing(shrinking))
    expected: dict[Any, Any] = {number: [number] for number in range(1000)}
    assert encode(shrinking) == pure_encode({**expected, "first": 1})
    assert shrinking == {}


class Interrupt(BaseException):
    pass


def test_an_interrupt_passes() -> None:
    """A signal's or a greenlet's exception that arrives in Python code called from C is not taken for wrong input."""

    class Interrupting:
        calls = 0

        def __etf__(self) -> Any:
            self.calls += 1
            raise Interrupt

    inner = Interrupting()
    with pytest.raises(Interrupt):
        encode([inner])
    assert inner.calls == 1


def test_subclasses_far_inside() -> None:
    point = namedtuple("point", "x y")
    value = [{Atom("p"): point(1, [True, point(b"", None)])}]
    assert encode(value) == pure_encode(value)


def test_threads_do_not_meet() -> None:
    """The space for short output and the atoms met lately are everybody's."""
    failed: list[str] = []

    def run(number: int) -> None:
        term = [Changing([], 0) if turn % 3 else Atom(f"t{number}_{turn}") for turn in range(50)] + [b"x" * number * 99]
        expected = pure_encode(term)
        for _ in range(100):
            if encode(term) != expected or pure_encode(decode(expected)[0]) != expected:
                failed.append(f"thread {number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_is_no_bytes_is_read_as_ever() -> None:
    assert harness.etf.binary_to_term(memoryview(b"\x83h\1a\7")) == ((7,), b"")
    with pytest.raises(DecodeError):
        decode(b"a\1", 7)
