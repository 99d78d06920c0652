"""Input that is no term, or too much of one; values that are no terms."""

from __future__ import annotations

import enum
import struct
import zlib
from collections import OrderedDict, namedtuple
from typing import Any

import pytest

from harness.etf import (
    Atom,
    BitString,
    DecodeError,
    DecodeOptions,
    EncodeError,
    EncodeOptions,
    Export,
    Fun,
    ImproperList,
    Pid,
    Reference,
    binary_to_term,
    decode,
    encode,
    term_to_binary,
)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty"),
        (b"\x82a\1", "version"),
        (b"\x83", "truncated"),
        (b"\x83l\xff\xff\xff\xff", "claimed"),
        (b"\x83i\xff\xff\xff\xffa\1", "claimed"),
        (b"\x83t\x80\0\0\0j", "claimed"),
        (b"\x83m\xff\xff\xff\xffabc", "truncated"),
        (b"\x83o\0\0\xff\xff\0abc", "truncated"),
        (b"\x83o\xff\xff\xff\xff\0abc", "integer of more than 8388608 bytes"),
        (b"\x83w\5abc", "truncated"),
        (b"\x83w\1\xff", "UTF-8"),
        (b"\x83v\x01\x00" + b"a" * 256, "255"),
        (b"\x83F\x7f\xf0\0\0\0\0\0\0", "finite"),
        (b"\x83F\x7f\xf8\0\0\0\0\0\1", "finite"),
        (b"\x83c" + b"nan".ljust(31, b"\0"), "malformed float"),
        (b"\x83c" + b"1_0".ljust(31, b"\0"), "malformed float"),
        (b"\x83n\1\2\1", "sign"),
        (b"\x83M\0\0\0\0\1", "bit string"),
        (b"\x83M\0\0\0\1\x09a", "bit string"),
        (b"\x83Z\0\6w\1a" + bytes(28), "words"),
        (b"\x83Xa\1" + bytes(12), "atom was expected"),
        (b"\x83yxyz", "LOCAL_EXT"),
        (b"\x83R\0", "atom cache"),
        (b"\x83\xff", "unknown tag"),
        (b"\x83h\1P\0\0\0\0", "inside"),
        (b"\x83P\0\0\0\5junkjunk", "zlib"),
        (b"\x83P\xff\xff\xff\xff", "limit"),
        (b"\x83P\0\0\0\2" + zlib.compress(b"j"), "decompressed size"),
        (b"\x83P\0\0\0\1" + zlib.compress(b"j" * 1000), "decompressed size"),
        (b"\x83P\0\0\0\2" + zlib.compress(b"jj"), "left after"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, cause: str) -> None:
    with pytest.raises(DecodeError, match=cause):
        binary_to_term(data)


def test_the_error_knows_offset_and_tag() -> None:
    with pytest.raises(DecodeError) as caught:
        binary_to_term(b"\x83h\2a\1\xfe")
    assert (caught.value.offset, caught.value.tag) == (5, 0xFE)


def test_depth_has_a_limit() -> None:
    deep = b"\x83" + b"h\1" * 10_000 + b"j"
    with pytest.raises(DecodeError, match="deeper than 512"):
        binary_to_term(deep)
    term, _ = binary_to_term(deep, DecodeOptions(max_depth=10_000))
    assert term_to_binary(term) == deep


def test_size_has_a_limit() -> None:
    with pytest.raises(DecodeError, match="limit 10"):
        binary_to_term(term_to_binary(b"x" * 10), DecodeOptions(max_size=10))


def test_nested_tails_are_one_list() -> None:
    tail = struct.pack(">cIcB", b"l", 1, b"a", 2) + b"j"
    assert binary_to_term(b"\x83l\0\0\0\1a\1" + tail)[0] == [1, 2]
    improper = struct.pack(">cIcBcB", b"l", 1, b"a", 2, b"a", 3)
    assert binary_to_term(b"\x83l\0\0\0\1a\1" + improper)[0] == ImproperList((1, 2), 3)
    assert binary_to_term(b"\x83l\0\0\0\0j")[0] == []


def test_old_identifiers_are_read() -> None:
    assert binary_to_term(b"\x83gd\0\3a@b" + struct.pack(">IIB", 5, 6, 1))[0] == Pid(Atom("a@b"), 5, 6, 1)
    assert binary_to_term(b"\x83r\0\2s\3a@b\1" + struct.pack(">II", 7, 8))[0] == Reference(Atom("a@b"), 1, (7, 8))
    assert binary_to_term(b"\x83ew\3a@b" + struct.pack(">IB", 9, 2))[0] == Reference(Atom("a@b"), 2, (9,))


def test_a_node_may_be_called_true() -> None:
    pid = Pid(Atom("true"), 1, 2, 3)
    assert binary_to_term(term_to_binary(pid))[0] == pid


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        float("nan"),
        float("inf"),
        Atom("a" * 256),
        Atom("\ud800"),
        "\ud800",
        [1, [object()]],
        Pid(Atom("a@b"), -1, 0, 0),
        Pid(Atom("a@b"), 1 << 20_000, 0, 0),  # longer than Python prints
        Pid(7, 1, 0, 0),  # type: ignore[arg-type]
        Reference(Atom("a@b"), 0, (1 << 32,)),
        Reference(Atom("a@b"), 0, ()),
        Reference(Atom("a@b"), 0, (1,) * 6),
        Export(Atom("m"), Atom("f"), 256),
        BitString(b"", 3),
        BitString(b"a", 9),
        ImproperList((), 1),
        Fun(Atom("m"), 1, b"short", 0, 0, 0, Pid(Atom("a@b"), 1, 2, 3), ()),
        Fun(Atom("m"), 1, bytes(16), 0, 0, 0, None, ()),  # type: ignore[arg-type]
    ],
)
def test_no_term_no_bytes(value: Any) -> None:
    with pytest.raises(EncodeError):
        term_to_binary(value)


def test_a_list_within_itself_is_refused() -> None:
    knot: list[Any] = [1]
    knot.append(knot)
    with pytest.raises(EncodeError, match="contain itself"):
        term_to_binary(knot)


def test_subclasses_are_written_as_their_base() -> None:
    point = namedtuple("point", "x y")
    colour = enum.IntEnum("colour", {"RED": 7})
    value = [point(1, 2), colour.RED, OrderedDict({Atom("a"): 1}), enum.Enum("E", {"A": "a"}, type=str).A]
    assert binary_to_term(term_to_binary(value))[0] == [(1, 2), 7, {Atom("a"): 1}, [97]]


def test_python_values_as_documented() -> None:
    assert encode("é") == b"m\0\0\0\2\xc3\xa9"
    assert term_to_binary("é") == b"\x83k\0\1\xe9"
    assert term_to_binary([True, None]) == b"\x83l\0\0\0\2w\4truew\tundefinedj"
    assert term_to_binary([1, True]) == b"\x83l\0\0\0\2a\1w\4truej"
    assert term_to_binary(bytearray(b"x")) == term_to_binary(memoryview(b"x")) == term_to_binary(b"x")
    assert term_to_binary([1] * 65536)[1:2] == b"l"
    assert term_to_binary([1] * 65535)[1:2] == b"k"


def test_compression_only_where_it_helps() -> None:
    options = EncodeOptions(compressed=9)
    assert term_to_binary(1, options) == b"\x83a\1"
    packed = term_to_binary([b"abc"] * 1000, options)
    assert packed[1:2] == b"P"
    assert binary_to_term(packed + b"rest") == ([b"abc"] * 1000, b"rest")


def test_atoms_out_of_a_distribution_header() -> None:
    cache = [Atom("a@b"), True, None, Atom("ok")]
    assert decode(b"h\4R\0R\1R\2R\3", 0, cache=cache) == ((Atom("a@b"), True, None, Atom("ok")), 10)
    assert decode(b"XR\0" + bytes(12), 0, cache=cache)[0] == Pid(Atom("a@b"), 0, 0, 0)
    assert decode(b"qR\1R\2a\3", 0, cache=cache)[0] == Export(Atom("true"), Atom("undefined"), 3)
    assert decode(b"ZZ\0\1R\3" + bytes(8), 1, cache=cache)[0] == Reference(Atom("ok"), 0, (0,))
    for data, cause in [(b"R\4", "reference 4 of 4"), (b"XR\4" + bytes(12), "reference 4 of 4"), (b"R", "truncated")]:
        with pytest.raises(DecodeError, match=cause) as caught:
            decode(data, 0, cache=cache)
        assert caught.value.tag in (82, 88)
    with pytest.raises(DecodeError, match="outside a distribution header"):
        decode(b"XR\0" + bytes(12), 0)
    with pytest.raises(DecodeError, match="reference 0 of 0"):
        decode(b"R\0", 0, cache=())


def test_a_fun_of_a_module_called_true() -> None:
    fun = Fun(Atom("true"), 1, bytes(16), 0, 0, 0, Pid(Atom("undefined"), 1, 2, 3), (1,))
    assert binary_to_term(term_to_binary(fun))[0] == fun


def test_funs_within_funs_have_their_sizes() -> None:
    term: Any = 1
    for _ in range(400):
        term = Fun(Atom("m"), 1, bytes(16), 0, 0, 0, Pid(Atom("a@b"), 1, 2, 3), (term, 2))
    data = term_to_binary(term)
    assert int.from_bytes(data[2:6], "big") == len(data) - 2
    assert binary_to_term(data)[0].free[0].free[1] == 2
    assert term_to_binary(binary_to_term(data)[0]) == data
