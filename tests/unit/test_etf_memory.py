"""What hostile bytes cost: memory in proportion to the input, limits that hold, tables that do not grow."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.etf import DecodeError, DecodeOptions, binary_to_term, decode
from harness.etf.leaves import UTF8_ATOMS

N = 20_000
COUNT = struct.pack(">I", N)
LIST, MAP = b"\x83l" + COUNT, b"\x83t" + COUNT
SPARE = 300_000  # bytes: what any call may take besides


@contextmanager
def peak() -> Iterator[list[int]]:
    """Fills in the most bytes that Python objects took at once."""
    taken: list[int] = []
    tracemalloc.start()
    try:
        yield taken
        taken.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def numbered(pattern: bytes) -> bytes:
    return b"".join(pattern % number for number in range(N))


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (b"\x83m\xff\xff\xff\xff" + bytes(N), 3),
        (b"\x83o\0\x7f\xff\xff\0" + bytes(N), 3),
        (b"\x83w\xff" + bytes(100), 3),
        (b"\x83l\xff\xff\xff\xff" + b"j" * N, 1),
        (b"\x83" + b"".join(b"i" + struct.pack(">I", 5 * N - 5 * i) for i in range(500)) + b"a\0" * 3 * N, 6),
        (b"\x83" + b"h\1" * N, 1),
        (LIST + b"m\0\0\0\2ab" * N + b"j", 8),
        (LIST + b"F?\xf0\0\0\0\0\0\0" * N + b"j", 8),
        (LIST + b"h\1a\1" * N + b"j", 20),
        (LIST + b"t\0\0\0\0" * N + b"j", 20),
        (LIST + b"k\0\0" * N + b"j", 30),
        (LIST + (b"Xw\0" + bytes(12)) * N + b"j", 30),
        (LIST + numbered(b"w\6%06d") + b"j", 40),
        (MAP + numbered(b"m\0\0\0\6%06da\1"), 40),
        (LIST + b"t\0\0\0\1jj" * N + b"j", 50),
        (LIST + b"j" * N + b"j", 80),  # an empty list is one byte there and 64 here: the worst of proper terms
        (MAP + b"jj" * N, 120),  # and the worst of others
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value),
)
def test_memory_is_a_small_multiple_of_the_input(data: bytes, most: int) -> None:
    with peak() as taken:
        try:
            term = binary_to_term(data)
        except DecodeError:
            term = None
    del term
    assert taken[0] < most * len(data) + SPARE


def test_a_bomb_is_not_unpacked() -> None:
    size = 10_000_000
    bomb = b"\x83P" + struct.pack(">I", size) + zlib.compress(bytes(size), 9)
    with (
        peak() as taken,
        pytest.raises(DecodeError, match=r"10000000 bytes when decompressed, limit 1000000: see max_inflated at"),
    ):
        binary_to_term(bomb, DecodeOptions(max_inflated=1_000_000))
    assert taken[0] < SPARE
    lying = b"\x83P\0\0\0\x64" + zlib.compress(bytes(size), 9)
    with peak() as taken, pytest.raises(DecodeError, match="not the claimed one"):
        binary_to_term(lying)
    assert taken[0] < SPARE


def compressed(plain: bytes) -> bytes:
    return b"\x83P" + struct.pack(">I", len(plain)) + zlib.compress(plain, 9)


def test_how_far_a_short_input_may_unfold() -> None:
    """Memory of what is compressed well is bounded by the input, too, unless the caller says otherwise."""
    lists = compressed(b"l" + struct.pack(">I", 2_000_000) + b"j" * 2_000_001)
    with pytest.raises(DecodeError, match="more than 524288 lists, tuples and maps: see max_containers"):
        binary_to_term(lists)
    assert binary_to_term(lists, {"max_containers": 2_000_002})[0] == [[]] * 2_000_000
    zeros = compressed(b"l" + struct.pack(">I", 1_000_000) + b"a\0" * 1_000_000 + b"j")
    assert binary_to_term(zeros)[0] == [0] * 1_000_000
    binary = compressed(b"m" + struct.pack(">I", 20_000_000) + bytes(20_000_000))
    with (
        peak() as taken,
        pytest.raises(DecodeError, match="20000005 bytes when decompressed, limit 8388608: see max_r"),
    ):
        binary_to_term(binary)
    assert taken[0] < SPARE
    assert binary_to_term(binary, {"max_ratio": 1100})[0] == bytes(20_000_000)
    noise = compressed(b"m" + struct.pack(">I", 10_000_000) + random.Random(1).randbytes(1_300_000) + bytes(8_700_000))
    assert len(binary_to_term(noise)[0]) == 10_000_000


def test_the_more_bytes_there_are_the_more_containers_there_may_be() -> None:
    noise = random.Random(1).randbytes(1_000_000)
    plain = b"h\2m" + struct.pack(">I", len(noise)) + noise + b"l" + struct.pack(">I", 700_000) + b"j" * 700_001
    assert len(binary_to_term(compressed(plain))[0][1]) == 700_000


def test_each_limit_is_its_own() -> None:
    packed = b"\x83P\0\0\x03\xed" + zlib.compress(b"m\0\0\x03\xe8" + bytes(1000))
    tight = DecodeOptions(max_size=len(packed), max_inflated=1005)
    assert binary_to_term(packed, tight)[0] == bytes(1000)
    with pytest.raises(DecodeError, match="limit 10: see max_size at"):
        binary_to_term(packed, {"max_size": 10})
    with pytest.raises(DecodeError, match="limit 1004: see max_inflated at"):
        binary_to_term(packed, {"max_inflated": 1004})
    assert binary_to_term(b"\x83o\0\0\0\4\0" + bytes(4), {"max_integer": 4})[0] == 0
    with pytest.raises(DecodeError, match="integer of more than 3 bytes"):
        binary_to_term(b"\x83o\0\0\0\4\0" + bytes(4), {"max_integer": 3})
    nested = b"h\1" * 10 + b"j"
    assert decode(nested, 0, DecodeOptions(max_depth=10))[1] == 21
    with pytest.raises(DecodeError, match="deeper than 9"):
        decode(nested, 0, DecodeOptions(max_depth=9))


@pytest.mark.parametrize("inner", [b"j", b"k\0\1a", b"h\0", b"t\0\0\0\0", b"l\0\0\0\1a\1a\2"])
def test_lists_tuples_and_maps_are_counted(inner: bytes) -> None:
    data = b"h\5" + inner * 5
    assert decode(data, 0, DecodeOptions(max_containers=6))[1] == len(data)
    with pytest.raises(DecodeError, match="more than 5 lists, tuples and maps") as caught:
        decode(data, 0, DecodeOptions(max_containers=5))
    assert caught.value.tag == inner[0]


def test_the_table_of_atoms_is_bounded() -> None:
    for start in range(0, 100_000, 10_000):
        atoms = b"".join(b"w\6%06d" % number for number in range(start, start + 10_000))
        binary_to_term(b"\x83l\0\0\x27\x10" + atoms + b"j")
        assert len(UTF8_ATOMS) <= 1 << 14


def test_a_map_with_a_key_twice_is_refused() -> None:
    for key in (b"a\1", b"w\2ok", b"h\1a\1", b"m\0\0\0\1x"):
        with pytest.raises(DecodeError, match="twice") as caught:
            binary_to_term(b"\x83h\1t\0\0\0\2" + (key + b"j") * 2)
        assert (caught.value.offset, caught.value.tag) == (3, 116)


def test_keys_too_deep_to_hash_are_pairs() -> None:
    deep = b"l\0\0\0\1a\1" * 450 + b"w\1x"
    wrapped = b"l\0\0\0\1" * 450 + b"w\1x" + b"w\1y" * 450
    for key in (deep, wrapped):
        term, _ = binary_to_term(b"\x83t\0\0\0\1" + key + b"a\1")
        assert [value for _, value in term.items()] == [1]
