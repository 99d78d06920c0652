"""Whole terms, as ``term_to_binary`` writes them: with version byte, perhaps compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from harness.errors import DecodeError
from harness.etf.core import decode, encode
from harness.etf.options import (
    CONTAINERS,
    DEFAULT,
    FREE_CONTAINERS,
    FREE_INFLATED,
    TO_BINARY,
    DecodeOptions,
    EncodeOptions,
    given,
)
from harness.etf.terms import Term

VERSION: Final = 131
_COMPRESSED = 80


def term_to_binary(term: Term, options: EncodeOptions | Mapping[str, Any] | None = None) -> bytes:
    """`term` with the version byte. A str becomes an Erlang string, a list of code points; True/False/None the atoms
    true/false/undefined.

    Raises EncodeError for what Erlang has no counterpart of, OptionError for options that cannot be meant.
    """
    options = given(options, TO_BINARY)
    plain = encode(term, options)
    if options.compressed:
        packed = zlib.compress(plain, options.compressed)
        if len(packed) + 5 <= len(plain):  # where a node still takes it
            return bytes((VERSION, _COMPRESSED)) + len(plain).to_bytes(4, "big") + packed
    return b"\x83" + plain


def binary_to_term(
    data: bytes | bytearray | memoryview, options: DecodeOptions | Mapping[str, Any] | None = None
) -> tuple[Term, bytes]:
    """The term at the start of `data` (version byte, perhaps compressed) and the bytes after it.

    Raises DecodeError (with offset and tag), and nothing else whatever the bytes are; OptionError for options that
    cannot be meant.
    """
    options = given(options, DEFAULT)
    raw = data if type(data) is bytes else bytes(data)
    if not raw:
        raise DecodeError("empty input", 0)
    if raw[0] != VERSION:
        raise DecodeError("no version byte 131", 0, raw[0])
    if len(raw) > 1 and raw[1] == _COMPRESSED:
        return _inflate(raw, options)
    term, end = decode(raw, 1, options)
    return term, raw[end:]


def _inflate(raw: bytes, options: DecodeOptions) -> tuple[Term, bytes]:
    if len(raw) < 6:
        raise DecodeError("truncated", len(raw), _COMPRESSED)
    if len(raw) > options.max_size:
        raise DecodeError(f"{len(raw)} bytes, limit {options.max_size}: see max_size", 0, _COMPRESSED)
    claimed = int.from_bytes(raw[2:6], "big")
    expected = max(options.max_ratio * len(raw), FREE_INFLATED)
    if claimed > min(expected, options.max_inflated):
        limit = (
            f"{expected}: see max_ratio"
            if expected < options.max_inflated
            else f"{options.max_inflated}: see max_inflated"
        )
        raise DecodeError(f"{claimed} bytes when decompressed, limit {limit}", 2, _COMPRESSED)
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(memoryview(raw)[6:], claimed + 1)
    except zlib.error as error:
        raise DecodeError(f"not zlib data ({error})", 6, _COMPRESSED) from None
    if len(plain) != claimed or not inflater.eof:
        raise DecodeError("decompressed size is not the claimed one", 2, _COMPRESSED)
    room = options.max_containers
    if room is None:
        room = min(max(len(raw), FREE_CONTAINERS), CONTAINERS)
    term, end = decode(plain, 0, replace(options, max_size=claimed, max_containers=room))
    if end != claimed:
        raise DecodeError("bytes left after the compressed term", end, _COMPRESSED)
    return term, inflater.unused_data
