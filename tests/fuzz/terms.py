"""What holds for any bytes read as a term, by the pure decoder and by the compiled one."""

from __future__ import annotations

from collections.abc import Callable

from harness.errors import DecodeError
from harness.etf.decode import decode as pure_decode
from harness.etf.encode import encode as pure_encode
from harness.etf.options import DecodeOptions
from harness.etf.terms import Atom, Term

try:
    from harness.etf._speed import decode as compiled_decode
    from harness.etf._speed import encode as compiled_encode
except ImportError:  # not built here: the pure ones keep themselves company
    compiled_decode, compiled_encode = pure_decode, pure_encode

Decode = Callable[..., tuple[Term, int]]

# The first byte of the input chooses: the usual limits; tight ones; an atom cache (with an atom, a special one).
WAYS = (
    (DecodeOptions(), None),
    (DecodeOptions(max_depth=4, max_size=64, max_integer=4, max_containers=6), None),
    (DecodeOptions(), (Atom("cached@node"), True)),
)


def pure(data: bytes) -> None:
    """A term or a DecodeError; and a term can be written, and read again as the same."""
    outcome = _outcome(pure_decode, data)
    if outcome[0] == "term":
        _read_again(pure_decode, pure_encode, outcome)


def compiled(data: bytes) -> None:
    """The compiled decoder and encoder do to the letter what the pure ones do."""
    expected = _outcome(pure_decode, data)
    outcome = _outcome(compiled_decode, data)
    assert _shown(outcome) == _shown(expected)
    if outcome[0] == "term":
        assert compiled_encode(outcome[1]) == pure_encode(expected[1])
        _read_again(compiled_decode, compiled_encode, outcome)


def _outcome(decode: Decode, data: bytes) -> tuple[object, ...]:
    options, cache = WAYS[data[0] % len(WAYS)] if data else WAYS[0]
    try:
        term, end = decode(data, 1, options, cache)
    except DecodeError as error:
        return "error", error.offset, error.tag, str(error)
    assert 1 < end <= len(data)
    return "term", term, end


def _shown(outcome: tuple[object, ...]) -> str:
    """repr tells 1, 1.0 and True apart, and the order of a map's pairs."""
    return repr(outcome)


def _read_again(decode: Decode, encode: Callable[[Term], bytes], outcome: tuple[object, ...]) -> None:
    term = outcome[1]
    raw = encode(term)
    assert _shown(decode(raw)) == _shown((term, len(raw)))
