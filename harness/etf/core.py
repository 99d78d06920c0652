"""The decoder and encoder in use: the compiled ones where they have been built, unless HARNESS_PURE is set."""

from __future__ import annotations

from harness.etf.compiled import usable
from harness.etf.decode import decode as pure_decode
from harness.etf.encode import encode as pure_encode

__all__ = ["COMPILED", "decode", "encode"]

decode, encode = pure_decode, pure_encode
COMPILED = usable("harness.etf")
if COMPILED:
    from harness.etf._speed import decode, encode
