"""Any term survives; any bytes give a term or DecodeError, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.etf import (
    Atom,
    BitString,
    DecodeError,
    Export,
    Fun,
    ImproperList,
    Pid,
    Port,
    Reference,
    binary_to_term,
    term_to_binary,
)

u32 = st.integers(0, 2**32 - 1)
atoms = st.text(st.characters(codec="utf-8"), max_size=255).map(Atom)
names = st.from_regex(r"[a-z]{1,8}@[a-z0-9]{1,8}", fullmatch=True).map(Atom)
pids = st.builds(Pid, names, u32, u32, u32)
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
    st.builds(BitString, st.binary(min_size=1, max_size=9), st.integers(1, 7)),
    st.lists(st.integers(0, 256), max_size=20),
)


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
    assert term_to_binary(back) == data  # stricter than ==, for which 1, 1.0 and True are the same


def term_or_error(data: bytes) -> None:
    try:
        term, _ = binary_to_term(data)
    except DecodeError:
        return
    term_to_binary(term)  # a term indeed


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
