"""The Erlang distribution protocol, as a hidden node."""

from __future__ import annotations

from harness.dist.runtime import THREADS, Runtime

__all__ = ["THREADS", "Runtime"]
