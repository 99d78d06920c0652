"""What binds one process to others, sans-I/O: links and monitors (Distribution Protocol, Link Protocol).

Every method says what has to be sent because of it; nothing is sent here. A process of ours traps exits: signals become
`Exit` values for its mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.dist.events import Down
from harness.dist.events import Exit as ExitReceived
from harness.dist.protocol.control import (
    Control,
    DemonitorP,
    Exit,
    Link,
    MonitorP,
    MonitorPExit,
    UnlinkId,
    UnlinkIdAck,
)
from harness.etf import Atom, Pid, Reference, Term

NOCONNECTION = Atom("noconnection")
NOPROC = Atom("noproc")

Target = Pid | tuple[Atom, Atom]
Outgoing = list[tuple[str, Control]]
"""Node and what to send there."""


def node_of(target: Target) -> Atom:
    return target.node if isinstance(target, Pid) else target[1]


@dataclass(frozen=True, slots=True)
class _Watcher:
    """Who watches us, and as what: pid or registered name."""

    pid: Pid
    us: Pid | Atom


class Bonds:
    """Links and monitors of the process `pid`."""

    def __init__(self, pid: Pid) -> None:
        self.pid = pid
        self._links: dict[Pid, int] = {}  # 0: active; else the id of an unlink that is not acknowledged yet
        self._unlinks = 0
        self._monitors: dict[Reference, Target] = {}
        self._watchers: dict[Reference, _Watcher] = {}

    def linked(self) -> list[Pid]:
        return [pid for pid, unlink in self._links.items() if not unlink]

    # --- links, our doing ----------------------------------------------------------------------------------------

    def link(self, to: Pid) -> Outgoing:
        if to == self.pid or self._links.get(to) == 0:
            return []
        self._links[to] = 0  # with an unlink outstanding, too: its acknowledgement means nothing any more
        return [(to.node, Link(self.pid, to))]

    def unlink(self, to: Pid) -> Outgoing:
        if self._links.get(to) != 0:
            return []
        self._unlinks += 1
        self._links[to] = self._unlinks
        return [(to.node, UnlinkId(self._unlinks, self.pid, to))]

    # --- links, theirs -------------------------------------------------------------------------------------------

    def link_received(self, sender: Pid) -> None:
        self._links.setdefault(sender, 0)  # while our unlink is under way theirs crossed it: both end unlinked

    def unlink_received(self, sender: Pid) -> None:
        """UNLINK, or UNLINK_ID (the acknowledgement of which whoever received it has sent)."""
        if self._links.get(sender) == 0:
            del self._links[sender]

    def unlink_acknowledged(self, ack: UnlinkIdAck) -> None:
        if ack.id and self._links.get(ack.sender) == ack.id:
            del self._links[ack.sender]

    def exit_received(self, sender: Pid, reason: Term) -> ExitReceived | None:
        return ExitReceived(sender, reason) if self._links.pop(sender, None) == 0 else None

    # --- monitors ------------------------------------------------------------------------------------------------

    def monitor(self, target: Target, ref: Reference) -> Outgoing:
        self._monitors[ref] = target
        return [(node_of(target), MonitorP(self.pid, _here(target), ref))]

    def demonitor(self, ref: Reference) -> Outgoing:
        target = self._monitors.pop(ref, None)
        return [] if target is None else [(node_of(target), DemonitorP(self.pid, _here(target), ref))]

    def down_received(self, ref: Reference, reason: Term) -> Down | None:
        target = self._monitors.pop(ref, None)
        return None if target is None else Down(ref, target, reason)

    def watched(self, by: MonitorP) -> None:
        self._watchers[by.ref] = _Watcher(by.sender, by.to)

    def unwatched(self, ref: Reference) -> None:
        self._watchers.pop(ref, None)

    # --- a process spawned for us --------------------------------------------------------------------------------

    def spawned(self, pid: Pid, ref: Reference, *, linked: bool, monitored: bool) -> None:
        if linked:
            self._links[pid] = 0
        if monitored:
            self._monitors[ref] = pid

    # --- ends ----------------------------------------------------------------------------------------------------

    def node_lost(self, node: str) -> list[Down | ExitReceived]:
        """What the process is told when the connection to `node` is gone."""
        told: list[Down | ExitReceived] = []
        for ref, target in list(self._monitors.items()):
            if node_of(target) == node:
                del self._monitors[ref]
                told.append(Down(ref, target, NOCONNECTION))
        for pid, unlink in list(self._links.items()):
            if pid.node == node:
                del self._links[pid]
                if not unlink:
                    told.append(ExitReceived(pid, NOCONNECTION))
        for ref, watcher in list(self._watchers.items()):
            if watcher.pid.node == node:
                del self._watchers[ref]
        return told

    def ended(self, reason: Term) -> Outgoing:
        """The process ends: links break, those who watch it are told, its own monitors are taken back."""
        out: Outgoing = [(pid.node, Exit(self.pid, pid, reason)) for pid in self.linked()]
        out += [(who.pid.node, MonitorPExit(who.us, who.pid, ref, reason)) for ref, who in self._watchers.items()]
        for ref in list(self._monitors):
            out += self.demonitor(ref)
        self._links.clear()
        self._watchers.clear()
        return out


def _here(target: Target) -> Pid | Atom:
    """A target as its own node calls it."""
    return target if isinstance(target, Pid) else target[0]
