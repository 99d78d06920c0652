"""The inbox in use: the compiled one where it has been built, unless HARNESS_PURE is set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.dist.inbox import Call, Inbox, splice

if TYPE_CHECKING:
    from harness.dist._speed import Line as CompiledLine

__all__ = ["COMPILED", "Call", "Inbox", "Line", "splice"]

COMPILED = False
Line: type[CompiledLine] | None = None
"""Only there compiled: a shorter way for what the pump does."""
if not os.environ.get("HARNESS_PURE"):
    try:
        from harness.dist._speed import Call, Inbox, Line, splice

        COMPILED = True
    except ImportError:  # not built here, or built for older sources
        pass
