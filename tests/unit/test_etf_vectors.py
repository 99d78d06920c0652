"""Terms as real nodes write them (tests/golden/etf), read and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.etf import (
    Atom,
    BitString,
    Export,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Port,
    Reference,
    binary_to_term,
    term_to_binary,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "etf"


def vectors(otp: int) -> dict[str, bytes]:
    lines = (GOLDEN / f"otp{otp}.txt").read_text().splitlines()
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in lines if line[0] != "#")}


A = Atom
EXPECTED: dict[str, Any] = {
    "small_integer": 255,
    "integer": 256,
    "integer_negative": -1,
    "integer_min": -0x80000000,
    "integer_over": 0x80000000,
    "small_big": 1 << 64,
    "small_big_negative": -(1 << 100),
    "large_big": 1 << 3000,
    "large_big_negative": -(1 << 3000),
    "float": 1.5,
    "float_negative_zero": -0.0,
    "float_tiny": 5e-324,
    "atom": A("ok"),
    "atom_empty": A(""),
    "atom_latin1": A("hé"),
    "atom_unicode": A("\u03b1😀"),
    "atom_255": A("a" * 255),
    "atom_255_wide": A("\u03b1" * 255),
    "true": True,
    "false": False,
    "undefined": None,
    "binary": b"abc",
    "binary_empty": b"",
    "bitstring": BitString(b"\xa0", 3),
    "bitstring_long": BitString(b"ab\x80", 1),
    "nil": [],
    "string": list(b"abc"),
    "string_wide": [1, 2, 256],
    "list": [A("a"), [A("b")], []],
    "improper": ImproperList((A("a"), A("b")), A("c")),
    "tuple_empty": (),
    "tuple": (A("a"), 1, (A("b"),)),
    "tuple_256": (A("x"),) * 256,
    "map_empty": {},
    "map": {A("a"): 1},
    "map_nested": {b"k": {1: [A("x")]}},
    "map_collision": PairMap(((1, A("a")), (1.0, A("b")))),
    "map_list_key": PairMap((([1], A("a")),)),
    "export": Export(A("lists"), A("map"), 2),
    "old_float": 1.5,
    "compressed": [A("abc")] * 1000,
    "latin1_atoms": (A("ok"), A("hé")),
}
SHAPES = {"pid": Pid, "reference": Reference, "port": Port, "fun": Fun, "map_true": PairMap}


@pytest.mark.parametrize("otp", [25, 27])
@pytest.mark.parametrize("name", [*EXPECTED, *SHAPES])
def test_a_node_s_bytes_become_the_term(otp: int, name: str) -> None:
    term, rest = binary_to_term(vectors(otp)[name] + b"more")
    assert rest == b"more"
    if name in SHAPES:
        assert type(term) is SHAPES[name]
    else:
        assert term == EXPECTED[name]
        assert type(term) is type(EXPECTED[name])
        assert repr(term) == repr(EXPECTED[name])  # 0.0 and -0.0, 1 and True are told apart here


def test_every_vector_is_expected_somewhere() -> None:
    assert set(vectors(25)) == set(vectors(27)) == {*EXPECTED, *SHAPES}


@pytest.mark.parametrize("name", sorted({*EXPECTED, *SHAPES} - {"old_float", "compressed", "latin1_atoms"}))
def test_written_back_as_the_node_wrote_it(name: str) -> None:
    data = vectors(27)[name]
    term, _ = binary_to_term(data)
    assert term_to_binary(term) == data
