"""Any term survives; any bytes give a term or DecodeError, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terms import exactly

from harness.etf import (
    Atom,
    BitString,
    DecodeError,
    Export,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Port,
    Reference,
    binary_to_term,
    same_term,
    term_to_binary,
)
from harness.etf.terms import map_of

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of the strategy for nested terms

u32 = st.integers(0, 2**32 - 1)
atoms = st.text(st.characters(codec="utf-8"), max_size=255).map(Atom)
names = st.from_regex(r"[a-z]{1,8}@[a-z0-9]{1,8}", fullmatch=True).map(Atom)
pids = st.builds(Pid, names, u32, u32, u32)


def bits(data: bytes, last: int, count: int) -> BitString:
    return BitString(data + bytes((last & (0xFF00 >> count) & 0xFF,)), count)


leaves = st.one_of(
    st.integers(),
    st.integers(-(2**2100), 2**2100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=300),
    st.booleans(),
    st.none(),
    atoms.filter(lambda name: name not in ("true", "false", "undefined")),
    pids,
    st.builds(Port, names, st.integers(0, 2**64 - 1), u32),
    st.builds(Reference, names, u32, st.lists(u32, min_size=1, max_size=5).map(tuple)),
    st.builds(Export, names, names, st.integers(0, 255)),
    st.builds(bits, st.binary(max_size=9), st.integers(0, 255), st.integers(1, 7)),
    st.lists(st.integers(0, 256), max_size=20),
)


# what a dict cannot hold apart, or not at all
odd_keys = st.one_of(
    st.sampled_from([1, 1.0, True, 0, 0.0, False, (1,), (1.0,), (True,), [], [1], [1.0], {}, (), None, b"", Atom("")]),
    st.sampled_from([BitString(b"\xa0", 3), BitString(b"\xa0", 4), ImproperList((1,), 2), ImproperList((1.0,), 2)]),
)


def map_of_pairs(pairs: list[tuple[Any, Any]]) -> Any:
    keys = {exactly(key): key for key, _ in pairs}
    return map_of(list(keys.values()), [value for (_, value), _ in zip(pairs, keys, strict=False)])


def bigger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    improper = st.builds(
        ImproperList,
        st.lists(inner, min_size=1, max_size=4).map(tuple),
        inner.filter(lambda tail: type(tail) not in (list, ImproperList)),
    )
    return st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        st.dictionaries(st.one_of(st.binary(max_size=4), names, st.floats(0.1, 0.9)), inner, max_size=5),
        improper,
        st.lists(st.tuples(st.one_of(odd_keys, inner), inner), max_size=6).map(map_of_pairs),
        st.builds(
            Fun,
            names,
            st.integers(0, 255),
            st.binary(min_size=16, max_size=16),
            u32,
            u32,
            u32,
            pids,
            st.lists(inner, max_size=3).map(tuple),
        ),
    )


terms = st.recursive(leaves, bigger, max_leaves=30)


@given(terms, st.binary(max_size=4))
def test_a_term_comes_back_equal(term: Any, rest: bytes) -> None:
    data = term_to_binary(term)
    back, left = binary_to_term(data + rest)
    assert (back, left) == (term, rest)
    assert exactly(back) == exactly(term)  # stricter than ==, for which 1, 1.0 and True are the same
    assert same_term(back, term)
    assert term_to_binary(back) == data
    assert binary_to_term(term_to_binary(term, {"compressed": 9}))[0] == term


def term_or_error(data: bytes) -> None:
    try:
        term, _ = binary_to_term(data)
    except DecodeError:
        return
    term_to_binary(term)  # a term indeed


@given(st.sampled_from([1, 1.0, True, (1,), (1.0,)]), st.sampled_from([1, 1.0, True, (1,), (1.0,)]))
def test_maps_are_equal_in_any_order_and_for_their_own_keys_only(one: Any, other: Any) -> None:
    pairs = ((one, "a"), ([], "b"), (other, "c"))
    if type(one) is type(other) and exactly(one) == exactly(other):
        return
    assert PairMap(pairs) == PairMap(pairs[::-1])
    assert hash(PairMap(pairs[::2])) == hash(PairMap(pairs[2::-2]))
    assert PairMap(pairs) != PairMap(((other, "a"), ([], "b"), (one, "c")))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_random_bytes(data: bytes) -> None:
    term_or_error(b"\x83" + data)


@given(terms, st.data())
@settings(max_examples=500)
def test_damaged_terms(term: Any, data: st.DataObject) -> None:
    raw = bytearray(term_to_binary(term))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(1, len(raw)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "claim"])):
            case "flip" if at < len(raw):
                raw[at] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[at:]
            case "insert":
                raw[at:at] = data.draw(st.binary(max_size=8))
            case "claim":
                raw[at : at + 4] = b"\xff\xff\xff\xff"
    term_or_error(bytes(raw))


@given(st.lists(st.sampled_from([b"h\1", b"l\0\0\0\1", b"t\0\0\0\1", b"a\1", b"j", b"h\2", b"w\1a", b"k\0\1a"])))
@settings(max_examples=500)
def test_tag_soup(tags: list[bytes]) -> None:
    term_or_error(b"\x83" + b"".join(tags))
