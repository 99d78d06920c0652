"""The decoder and encoder in use: the compiled ones where they have been built, unless HARNESS_PURE is set."""

from __future__ import annotations

import os

from harness.etf.decode import decode as pure_decode
from harness.etf.encode import encode as pure_encode

__all__ = ["COMPILED", "decode", "encode"]

decode, encode = pure_decode, pure_encode
COMPILED = False
if not os.environ.get("HARNESS_PURE"):
    try:
        from harness.etf._speed import decode, encode

        COMPILED = True
    except ImportError:  # not built here, or built for older sources
        pass
