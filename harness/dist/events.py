"""What a mailbox or a subscriber is told beside messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from harness.errors import HarnessError
from harness.etf import Atom, Pid, Reference, Term

Process: TypeAlias = "Pid | tuple[str, str]"
"""A process: its pid, or the name it registered and its node."""


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process ended, was never there (reason ``noproc``) or cannot be seen (``noconnection``).

    `process` is what was given to `Mailbox.monitor`.
    """

    ref: Reference
    process: Pid | tuple[Atom, Atom]
    reason: Term


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit signal: a linked process ended, its node was lost (``noconnection``), or ``exit/2`` was called."""

    sender: Pid
    reason: Term


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A connection to `node` stands. `hidden`: it did not publish itself."""

    node: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class NodeDown:
    """The connection to `node` is gone; `error` says why in words."""

    node: str
    error: HarnessError


NodeEvent: TypeAlias = NodeUp | NodeDown
