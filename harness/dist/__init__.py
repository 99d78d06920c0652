"""The Erlang distribution protocol: `Node` is a node of ours, `connect(...)` one connection of a hidden one."""

from __future__ import annotations

from harness.dist.connection import Connection
from harness.dist.dial import names
from harness.dist.events import Down, Exit, NodeDown, NodeEvent, NodeUp
from harness.dist.mailbox import Mailbox
from harness.dist.node import Node, connect
from harness.dist.runtime import THREADS, Runtime

__all__ = [
    "THREADS",
    "Connection",
    "Down",
    "Exit",
    "Mailbox",
    "Node",
    "NodeDown",
    "NodeEvent",
    "NodeUp",
    "Runtime",
    "connect",
    "names",
]
