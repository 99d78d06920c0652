"""Erlang terms as Python values and as bytes: the External Term Format. docs/etf.md tells what becomes what."""

from __future__ import annotations

from harness.errors import DecodeError, EncodeError, TermError
from harness.etf import codec
from harness.etf.codec import NIL, list_to_str, list_to_unicode_str
from harness.etf.core import COMPILED, decode, encode
from harness.etf.encode import encode_atom
from harness.etf.external import binary_to_term, term_to_binary
from harness.etf.options import DEFAULT, DecodeOptions, EncodeOptions, OptionError
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
    StrictAtom,
    Term,
    same_term,
)

__all__ = [
    "COMPILED",
    "DEFAULT",
    "NIL",
    "Atom",
    "BitString",
    "DecodeError",
    "DecodeOptions",
    "EncodeError",
    "EncodeOptions",
    "Export",
    "Fun",
    "ImproperList",
    "OptionError",
    "PairMap",
    "Pid",
    "Port",
    "Reference",
    "StrictAtom",
    "Term",
    "TermError",
    "binary_to_term",
    "codec",
    "decode",
    "encode",
    "encode_atom",
    "list_to_str",
    "list_to_unicode_str",
    "same_term",
    "term_to_binary",
]
