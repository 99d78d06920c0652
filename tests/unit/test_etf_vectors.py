"""Terms as real nodes write them (tests/golden/etf), read and written back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.etf import (
    Atom,
    BitString,
    DecodeError,
    EncodeOptions,
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
from harness.etf.encode import encode as pure_encode


def pure_term_to_binary(term: Any, options: dict[str, Any]) -> bytes:
    return b"\x83" + pure_encode(term, EncodeOptions(**options))


GOLDEN = Path(__file__).parents[1] / "golden" / "etf"


def vectors(otp: int) -> dict[str, bytes]:
    lines = (GOLDEN / f"otp{otp}.txt").read_text().splitlines()
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in lines if line[0] != "#")}


A = Atom
AB = A("a@b")
LIST_MIXED = [1, 2, 1.0, b"1", A("1"), list(b"1"), (1,)]
NESTED = [ImproperList((A("a"),), A("b")), ImproperList((ImproperList((A("c"),), A("d")),), A("e"))]
EXPECTED: dict[str, Any] = {
    "zero": 0,
    "small_integer": 255,
    "integer": 256,
    "integer_negative": -1,
    "integer_min": -0x80000000,
    "integer_max": 0x7FFFFFFF,
    "integer_over": 0x80000000,
    "integer_under": -0x80000001,
    "small_big": 1 << 64,
    "small_big_negative": -(1 << 100),
    "small_big_longest": (1 << 2040) - 1,
    "large_big_shortest": 1 << 2040,
    "large_big": 1 << 3000,
    "large_big_negative": -(1 << 3000),
    "float": 1.5,
    "float_zero": 0.0,
    "float_negative_zero": -0.0,
    "float_tiny": 5e-324,
    "float_huge": sys.float_info.max,
    "float_third": 1 / 3,
    "atom": A("ok"),
    "atom_empty": A(""),
    "atom_spaces": A(" two words "),
    "atom_latin1": A("hé"),
    "atom_unicode": A("\u03b1😀"),
    "atom_255": A("a" * 255),
    "atom_255_wide": A("\u03b1" * 255),
    "atom_255_widest": A("😀" * 255),
    "true": True,
    "false": False,
    "undefined": None,
    "binary": b"abc",
    "binary_empty": b"",
    "binary_long": b"0123456789" * 30,
    "bitstring": BitString(b"\xa0", 3),
    "bitstring_long": BitString(b"ab\x80", 1),
    "bitstring_part": BitString(b"\xe0", 3),
    "bitstring_across": BitString(b"\xff\xe0", 3),
    "nil": [],
    "string": list(b"abc"),
    "string_zeros": [0, 0, 255],
    "string_wide": [1, 2, 256],
    "string_negative": [1, -1],
    "list": [A("a"), [A("b")], []],
    "list_nested": [[[[[]]]], [[], []]],
    "list_mixed": LIST_MIXED,
    "improper": ImproperList((A("a"), A("b")), A("c")),
    "improper_number": ImproperList((1,), 2),
    "improper_binary": ImproperList((1, 2, 3), b"x"),
    "improper_nested": ImproperList(tuple(NESTED), (A("f"), ImproperList((A("g"),), A("h")))),
    "tuple_empty": (),
    "tuple": (A("a"), 1, (A("b"),)),
    "tuple_255": ([],) * 255,
    "tuple_256": (A("x"),) * 256,
    "map_empty": {},
    "map": {A("a"): 1},
    "map_nested": {b"k": {1: [A("x")]}},
    "map_32": {n: n * n for n in range(1, 33)},
    "map_33": {n: n * n for n in range(1, 34)},
    "map_tuple_keys": {(1, A("a")): (2, A("b")), (): []},
    "map_collision": PairMap(((1, A("a")), (1.0, A("b")))),
    "map_true": PairMap(((True, A("a")), (1, A("b")))),
    "map_list_key": PairMap((([1], A("a")),)),
    "map_map_key": PairMap((({}, A("a")),)),
    "map_bits_key": {BitString(b"\xa0", 3): A("a")},
    "map_inner_collision": PairMap((((1,), A("a")), ((1.0,), A("b")))),
    "export": Export(A("lists"), A("map"), 2),
    "export_wide": Export(A("\u03b1"), A("hé"), 255),
    "old_float": 1.5,
    "compressed": [A("abc")] * 1000,
    "compressed_best": [A("abc")] * 1000,
    "compressed_not": (A("short"), 1),
    "latin1_atoms": (A("ok"), A("hé")),
}
# What only looks can tell of: it is another term each time the vectors are made.
SHAPES: dict[str, type] = {
    "pid": Pid,
    "pid_key": dict,
    "reference": Reference,
    "reference_alias": Reference,
    "port": Port,
    "fun": Fun,
    "fun_closed": Fun,
    "fun_nested": Fun,
    "everything": tuple,
}
# Bytes of older nodes.
READ: dict[str, Any] = {
    "pid": Pid(AB, 5, 6, 1),
    "pid_new": Pid(AB, 5, 6, 70000),
    "port": Port(AB, 9, 2),
    "port_new": Port(AB, 9, 70000),
    "port_v4": Port(AB, 1 << 40, 70000),
    "reference": Reference(AB, 2, (9,)),
    "reference_new": Reference(AB, 1, (7, 8, 9)),
    "reference_newer": Reference(AB, 70000, (7,)),
    "reference_five": Reference(AB, 70000, (1, 2, 3, 4, 5)),
    "atom": A("abc"),
    "atom_latin1": A("hé"),
    "atom_small": A("hé"),
    "atom_true": True,
    "atom_utf8": A("hé"),
    "float": 1.5,
    "float_small": -5e-324,
    "integer_as_int": 7,
    "integer_as_big": -7,
    "integer_as_large_big": 257,
    "integer_without_bytes": 0,
    "tuple_large": (1, 2),
    "list_of_bytes": [1, 2],
    "list_of_none": [],
    "list_in_two": [1, 256],
    "list_then_string": [A("a"), 98, 99],
    "string_of_none": [],
    "bits_eight": b"ab",
    "bits_unclean": BitString(b"\xe0", 3),
    "export_old": Export(A("lists"), A("map"), 2),
}
COMPRESSED = {"compressed", "compressed_best"}
ANOTHER_FORM = {"old_float", "latin1_atoms", *COMPRESSED}


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
        if not name.startswith("map_"):  # whose order is the node's
            assert repr(term) == repr(EXPECTED[name])  # 0.0 and -0.0, 1 and True are told apart here


@pytest.mark.parametrize("otp", [25, 27])
@pytest.mark.parametrize("name", READ)
def test_what_older_nodes_wrote_is_read(otp: int, name: str) -> None:
    term, rest = binary_to_term(vectors(otp)[f"{name}_read"])
    assert (term, type(term), rest) == (READ[name], type(READ[name]), b"")
    assert binary_to_term(vectors(otp)[f"{name}_now"]) == (term, b"")
    assert term_to_binary(term) == vectors(27)[f"{name}_now"]


@pytest.mark.parametrize("otp", [25, 27])
def test_every_vector_is_expected_somewhere(otp: int) -> None:
    older = {f"{name}{form}" for name in READ for form in ("_read", "_now")}
    local = {"local"} if otp >= 26 else set()
    assert set(vectors(otp)) == {*EXPECTED, *SHAPES} | older | local


@pytest.mark.parametrize("name", sorted({*EXPECTED, *SHAPES} - ANOTHER_FORM))
def test_written_back_as_the_node_wrote_it(name: str) -> None:
    data = vectors(27)[name]
    term, _ = binary_to_term(data)
    assert term_to_binary(term) == data


@pytest.mark.parametrize("write", [term_to_binary, pure_term_to_binary], ids=["chosen", "pure"])
@pytest.mark.parametrize("name", sorted({*EXPECTED, *SHAPES} - COMPRESSED))
def test_written_as_otp_25_wrote_it(name: str, write: Any) -> None:
    data = vectors(25)[name]
    version = 0 if name == "old_float" else 1
    assert write(binary_to_term(data)[0], {"minor_version": version}) == data


@pytest.mark.parametrize("write", [term_to_binary, pure_term_to_binary], ids=["chosen", "pure"])
@pytest.mark.parametrize("name", READ)
def test_terms_of_older_nodes_as_otp_25_writes_them(name: str, write: Any) -> None:
    now = vectors(25)[f"{name}_now"]
    assert write(READ[name], {"minor_version": 1}) == now


@pytest.mark.parametrize("otp", [25, 27])
def test_an_old_minor_version_of_any_node(otp: int) -> None:
    """All is alike but a port: OTP 27 writes it as V4_PORT in every version."""
    assert term_to_binary(EXPECTED["latin1_atoms"], {"minor_version": 1}) == vectors(otp)["latin1_atoms"]
    assert term_to_binary(EXPECTED["old_float"], {"minor_version": 0}) == vectors(otp)["old_float"]
    for name in COMPRESSED:
        level, version = 6 if name == "compressed" else 9, 1 if otp == 25 else 2
        assert (
            term_to_binary(EXPECTED[name], EncodeOptions(compressed=level, minor_version=version)) == vectors(otp)[name]
        )


def test_a_port_of_28_bits_and_one_of_more() -> None:
    """As OTP 25 does with `{minor_version, 1}`; measured, no vector of it."""
    node = b"d\0\3a@b"
    for number, head, width in [(0xFFFFFFF, b"Y", 4), (0x10000000, b"x", 8), (1 << 32, b"x", 8)]:
        data = b"\x83" + head + node + number.to_bytes(width, "big") + (70000).to_bytes(4, "big")
        assert term_to_binary(Port(AB, number, 70000), {"minor_version": 1}) == data


@pytest.mark.parametrize("level", [6, 9])
def test_compressed_as_the_node_compressed_it(level: int) -> None:
    name = "compressed" if level == 6 else "compressed_best"
    assert term_to_binary(EXPECTED[name], {"compressed": level}) == vectors(27)[name]
    assert term_to_binary(EXPECTED["compressed_not"], {"compressed": True}) == vectors(27)["compressed_not"]


def test_a_local_term_is_refused() -> None:
    with pytest.raises(DecodeError, match="LOCAL_EXT") as caught:
        binary_to_term(vectors(27)["local"])
    assert (caught.value.offset, caught.value.tag) == (1, 121)
