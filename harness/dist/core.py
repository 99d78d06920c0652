"""The inbox in use: the compiled one where it has been built, unless HARNESS_PURE is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.dist.inbox import Call, Inbox, splice
from harness.etf.compiled import usable

if TYPE_CHECKING:
    from harness.dist._speed import Line as CompiledLine

__all__ = ["COMPILED", "Call", "Inbox", "Line", "splice"]

Line: type[CompiledLine] | None = None
"""Only there compiled: a shorter way for what the pump does."""
COMPILED = usable("harness.dist")
if COMPILED:
    from harness.dist._speed import Call, Inbox, Line, splice
