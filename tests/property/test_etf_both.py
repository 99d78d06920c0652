"""The compiled decoder and encoder are the pure ones, to the letter: values, errors, offsets, tags."""

from __future__ import annotations

from typing import Any

import pytest
from fuzz import terms as both
from hypothesis import given, settings
from hypothesis import strategies as st
from test_etf_roundtrip import terms

from harness.errors import EncodeError
from harness.etf.options import EncodeOptions
from harness.etf.terms import Atom, Pid, Reference

pytest.importorskip("harness.etf._speed", reason="not built here")

texts = st.one_of(st.text(max_size=20), st.text(st.characters(max_codepoint=255), max_size=300), st.just("\ud800"))
odd_keys = st.lists(st.tuples(st.sampled_from([1, 1.0, True, 0, False, -0.0, 2**64]), terms), max_size=4)
words = st.one_of(st.integers(-1, 2**32), st.sampled_from(["1", None, 1.0, True]))
wrong = st.one_of(
    st.builds(object),
    st.builds(Pid, st.one_of(texts, texts.map(Atom), st.none()), words, words, words),
    st.builds(Reference, texts, words, st.one_of(st.lists(words, max_size=7).map(tuple), st.lists(words))),
)
values = st.one_of(terms, texts, st.lists(st.one_of(terms, texts, wrong)), odd_keys.map(dict), wrong)


@given(values, st.sampled_from(["binary", "list", "utf8"]), st.sampled_from([0, 1, 2]))
@settings(max_examples=200)
def test_encoding(value: Any, string: str, version: int) -> None:
    options = EncodeOptions(string=string, minor_version=version)
    assert _written(both.compiled_encode, value, options) == _written(both.pure_encode, value, options)


def _written(encode: Any, value: Any, options: EncodeOptions) -> bytes | str:
    try:
        return encode(value, options)
    except EncodeError as error:
        return str(error)


@given(terms, st.integers(0, 2))
def test_decoding(term: Any, way: int) -> None:
    both.compiled(bytes((way,)) + both.pure_encode(term))


@given(terms, st.integers(0, 2), st.data())
@settings(max_examples=200)
def test_decoding_what_is_damaged(term: Any, way: int, draw: st.DataObject) -> None:
    raw = bytearray(both.pure_encode(term))
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(raw)))
        end = draw.draw(st.integers(at, min(at + 8, len(raw))))
        raw[at:end] = draw.draw(st.one_of(st.binary(max_size=8), st.just(b"\xff\xff\xff\xff"), st.just(b"")))
    both.compiled(bytes((way,)) + raw)


tags = st.sampled_from(
    [b"h\1", b"h\2", b"i\0\0\0\1", b"l\0\0\0\0", b"l\0\0\0\1", b"t\0\0\0\1", b"t\0\0\0\2", b"n\1\0\7"]
)
ends = st.sampled_from([b"a\1", b"j", b"w\1a", b"s\1a", b"k\0\1a", b"R\0", b"XR\0" + bytes(12), b"F?\xf0" + bytes(6)])


@given(st.lists(st.one_of(tags, ends)), st.integers(0, 2))
@settings(max_examples=500)
def test_tag_soup(soup: list[bytes], way: int) -> None:
    both.compiled(bytes((way,)) + b"".join(soup))
