"""The operations of the distribution protocol, typed (ERTS User's Guide, Protocol between Connected Nodes).

The variants with a trace token or a payload of their own are the same class: `token` is None without one, an exit
reason is a field however it travelled. `control` reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from harness.etf import Atom, Pid, Reference, Term


@dataclass(frozen=True, slots=True)
class Link:
    sender: Pid
    to: Pid


@dataclass(frozen=True, slots=True)
class Send:
    """A message to a process. With a sender it is written as SEND_SENDER, else as SEND."""

    to: Pid
    sender: Pid | None = None
    token: Term = None


@dataclass(frozen=True, slots=True)
class RegSend:
    """A message to a registered name."""

    sender: Pid
    name: Atom
    token: Term = None


@dataclass(frozen=True, slots=True)
class AliasSend:
    """A message to whoever made the alias."""

    sender: Pid
    alias: Reference
    token: Term = None


@dataclass(frozen=True, slots=True)
class Exit:
    """A link broke: its other end ended for `reason`."""

    sender: Pid
    to: Pid
    reason: Term
    token: Term = None


@dataclass(frozen=True, slots=True)
class Exit2:
    """``exit(To, Reason)`` was called."""

    sender: Pid
    to: Pid
    reason: Term
    token: Term = None


@dataclass(frozen=True, slots=True)
class Unlink:
    """Obsolete: OTP 25 still reads it, OTP 26 does not."""

    sender: Pid
    to: Pid


@dataclass(frozen=True, slots=True)
class UnlinkId:
    """`id` is in 1 .. 2**64 - 1; UnlinkIdAck with the same is the answer, before anything else to `sender`."""

    id: int
    sender: Pid
    to: Pid


@dataclass(frozen=True, slots=True)
class UnlinkIdAck:
    id: int
    sender: Pid
    to: Pid


@dataclass(frozen=True, slots=True)
class NodeLink:
    """Ancient, not used by any node in reach."""


@dataclass(frozen=True, slots=True)
class GroupLeader:
    """`sender` becomes the group leader of `to`."""

    sender: Pid
    to: Pid


@dataclass(frozen=True, slots=True)
class MonitorP:
    sender: Pid
    to: Pid | Atom
    ref: Reference


@dataclass(frozen=True, slots=True)
class DemonitorP:
    sender: Pid
    to: Pid | Atom
    ref: Reference


@dataclass(frozen=True, slots=True)
class MonitorPExit:
    """What was monitored ended. `sender` is what it was monitored as: pid or registered name."""

    sender: Pid | Atom
    to: Pid
    ref: Reference
    reason: Term


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """The message is the list of arguments. `ref` is also the monitor's, with ``monitor`` among the options."""

    ref: Reference
    sender: Pid
    group_leader: Pid
    mfa: tuple[Atom, Atom, int]
    options: list[Term]
    token: Term = None


@dataclass(frozen=True, slots=True)
class SpawnReply:
    """`result` is the new process, or an atom that tells why there is none."""

    LINKED = 1  # in flags: the new process is linked to `to`
    MONITORED = 2

    ref: Reference
    to: Pid
    flags: int
    result: Pid | Atom
    token: Term = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operation of a newer OTP: opcode and what followed it."""

    control: tuple[Term, ...]


Control: TypeAlias = (
    Link | Send | RegSend | AliasSend | Exit | Exit2 | Unlink | UnlinkId | UnlinkIdAck | NodeLink | GroupLeader
    | MonitorP | DemonitorP | MonitorPExit | SpawnRequest | SpawnReply | Unknown
)  # fmt: skip
