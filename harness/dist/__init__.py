"""The Erlang distribution protocol, as a hidden node: `connect(...)` gives a `Connection` to call through."""

from __future__ import annotations

from harness.dist.connection import Connection
from harness.dist.node import connect
from harness.dist.runtime import THREADS, Runtime

__all__ = ["THREADS", "Connection", "Runtime", "connect"]
