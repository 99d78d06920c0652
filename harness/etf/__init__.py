"""Erlang terms as Python values and as bytes: the External Term Format."""

from __future__ import annotations

from harness.errors import DecodeError, EncodeError
from harness.etf.decode import DecodeOptions, binary_to_term, decode
from harness.etf.encode import EncodeOptions, encode, encode_atom, term_to_binary
from harness.etf.terms import (
    Atom,
    BitString,
    Export,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Port,
    Reference,
    Term,
)

__all__ = [
    "Atom",
    "BitString",
    "DecodeError",
    "DecodeOptions",
    "EncodeError",
    "EncodeOptions",
    "Export",
    "Fun",
    "ImproperList",
    "PairMap",
    "Pid",
    "Port",
    "Reference",
    "Term",
    "binary_to_term",
    "decode",
    "encode",
    "encode_atom",
    "term_to_binary",
]
