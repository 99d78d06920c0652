"""The face of pyrlang-term's ``term.codec``: ``from harness.etf import codec`` instead of ``from term import codec``;
and its helpers for lists.

Two of its defaults that `harness.etf` does not share hold here: a STRING_EXT is read as str, and an object without a
hook is written as its public attributes. docs/etf.md says what else differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.errors import DecodeError, EncodeError, TermError
from harness.etf import core, external
from harness.etf.options import DecodeOptions, EncodeOptions, Hook, given
from harness.etf.terms import Term

__all__ = [
    "NIL",
    "ETFDecodeException",
    "ETFEncodeException",
    "PyCodecError",
    "binary_to_term",
    "binary_to_term_2",
    "decode",
    "dumps",
    "encode",
    "list_to_str",
    "list_to_unicode_str",
    "loads",
    "pack",
    "term_to_binary",
    "term_to_binary_2",
    "unpack",
]

PyCodecError = TermError
ETFDecodeException = DecodeError
ETFEncodeException = EncodeError

_READ: Final = DecodeOptions(byte_string="str")
_WRITE: Final = EncodeOptions(objects=True)

_Read = DecodeOptions | Mapping[str, Any] | None
_Write = EncodeOptions | Mapping[str, Any] | None


def term_to_binary(term: Term, options: _Write = None) -> bytes:
    """`term` with the version byte. Raises PyCodecError."""
    return external.term_to_binary(term, given(options, _WRITE))


def term_to_binary_2(term: Term, encode_hook: _Write | Hook = None) -> bytes:
    """`term` without version byte. The second argument: options, or only what would be ``encode_hook`` in them."""
    if callable(encode_hook) or (isinstance(encode_hook, Mapping) and any(map(callable, encode_hook.values()))):
        encode_hook = {"encode_hook": encode_hook}
    return core.encode(term, given(encode_hook, _WRITE))


def binary_to_term(data: bytes, options: _Read = None) -> tuple[Term, bytes]:
    """The term at the start of `data` (version byte, perhaps compressed) and the rest. Raises PyCodecError."""
    return external.binary_to_term(data, given(options, _READ))


def binary_to_term_2(data: bytes, options: _Read = None) -> tuple[Term, bytes]:
    """The term without version byte at the start of `data`, and the bytes after it."""
    raw = bytes(data)
    term, end = core.decode(raw, 0, given(options, _READ))
    return term, raw[end:]


encode = pack = dumps = term_to_binary
decode = unpack = loads = binary_to_term


# --- lists ------------------------------------------------------------------------------------------------------------

NIL: Final[list[Term]] = []  # to compare with; an empty list of one's own is as good


def list_to_unicode_str(characters: Sequence[int]) -> str:
    """The text of an Erlang string: a list of code points. Raises ValueError or TypeError if it is none."""
    return "".join(map(chr, characters))


def list_to_str(characters: Sequence[int]) -> bytes:
    """The bytes of a list of integers below 256 (bytes, as in pyrlang-term, whatever its name says)."""
    return bytes(characters)
