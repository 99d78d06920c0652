"""The inbox in use: the compiled one where it has been built, unless HARNESS_PURE is set."""

from __future__ import annotations

import os

from harness.dist.inbox import Call, Inbox, splice

__all__ = ["COMPILED", "Call", "Inbox", "splice"]

COMPILED = False
if not os.environ.get("HARNESS_PURE"):
    try:
        from harness.dist._speed import Call, Inbox, splice

        COMPILED = True
    except ImportError:  # not built here, or built for older sources
        pass
