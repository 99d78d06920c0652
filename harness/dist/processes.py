"""The processes of one node of ours, sans-I/O: whom a signal concerns, and what it makes the node answer.

Nothing here waits or locks: `exchange.Exchange` lets in one signal at a time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

from harness.dist import kernel
from harness.dist.bonds import NOCONNECTION, NOPROC, Bonds, Outgoing
from harness.dist.events import Exit as ExitReceived
from harness.dist.protocol.control import (
    AliasSend,
    Control,
    DemonitorP,
    Exit,
    Exit2,
    Link,
    MonitorP,
    MonitorPExit,
    RegSend,
    Send,
    SpawnReply,
    SpawnRequest,
    Unlink,
    UnlinkId,
    UnlinkIdAck,
)
from harness.dist.runtime import Parker
from harness.errors import UsageError
from harness.etf import Atom, Pid, Reference, Term

_KILL = Atom("kill")


class Process(Protocol):
    """A process of ours: a mailbox, or the node itself."""

    bonds: Bonds

    def deliver(self, message: Term) -> None:
        """Never blocks, never raises."""
        ...

    def killed(self) -> None:
        """It was ended from outside; its bonds are undone already."""
        ...


class Spawning:
    """One spawn under way: the request and whoever waits for the reply."""

    def __init__(self, process: Process, node: str, parker: Parker) -> None:
        self.process = process
        self.node = node
        self.parker = parker
        self.reply: SpawnReply | None = None  # None after unpark: the connection was lost
        self.abandoned = False


class _NodeItself:
    """Process number 1, which calls are made from. Its messages are answers nobody waits for any more."""

    def __init__(self, pid: Pid) -> None:
        self.bonds = Bonds(pid)

    def deliver(self, message: Term) -> None:
        pass

    def killed(self) -> None:
        pass


class Processes:
    """Processes, names, aliases and spawns under way of the node `name`.

    `post` queues a signal for another node, False when that is not connected. What processes of this node send to one
    another waits in the queue of `handle_local`.
    """

    def __init__(self, name: str, creation: int, post: Callable[[str, Control, Term], bool]) -> None:
        self.name = Atom(name)
        self.creation = creation
        self.aliases: dict[Reference, Process] = {}
        self.spawnings: dict[Reference, Spawning] = {}
        self._post_there = post
        self._local: deque[tuple[Control, Term]] = deque()
        self._numbers = itertools.count(1)
        self._references = itertools.count(1)
        self._by_pid: dict[Pid, Process] = {}
        self._names: dict[str, Process] = {}
        self.itself = _NodeItself(self.new_pid())
        self._by_pid[self.itself.bonds.pid] = self.itself
        for known in kernel.NAMES:
            self._names[known] = self.itself

    def new_pid(self) -> Pid:
        number = next(self._numbers)
        return Pid(self.name, number & 0x7FFF, number >> 15, self.creation)

    def new_reference(self) -> Reference:
        """Series 0: the calls of connections have others."""
        number = next(self._references)
        return Reference(self.name, self.creation, (0, number >> 32, number & 0xFFFFFFFF))

    def add(self, process: Process, name: str | None) -> None:
        """Raises UsageError for a name that is taken."""
        if name is not None:
            if name in self._names:
                raise UsageError("mailbox", f"the name {name} is taken", "names are unique within a node")
            self._names[name] = process
        self._by_pid[process.bonds.pid] = process

    def end(self, process: Process, reason: Term) -> bool:
        """Take `process` off; those bound to it are told `reason`. False if it is off already."""
        if self._by_pid.pop(process.bonds.pid, None) is None:
            return False
        for name in [name for name, held in self._names.items() if held is process]:
            del self._names[name]
        for alias in [alias for alias, held in self.aliases.items() if held is process]:
            del self.aliases[alias]
        self.post_all(process.bonds.ended(reason))
        return True

    def end_all(self) -> None:
        for process in list(self._by_pid.values()):
            self.end(process, NOCONNECTION)
            process.killed()

    def node_lost(self, node: str) -> None:
        for process in list(self._by_pid.values()):
            for told in process.bonds.node_lost(node):
                process.deliver(told)
        for ref, spawning in list(self.spawnings.items()):
            if spawning.node == node:
                del self.spawnings[ref]
                spawning.parker.unpark()

    # --- signals out ---------------------------------------------------------------------------------------------

    def post_all(self, out: Outgoing) -> None:
        for node, control in out:
            self._post(node, control)

    def _post(self, node: str, control: Control, message: Term = None) -> None:
        if node == self.name:
            self._local.append((control, message))
        elif not self._post_there(node, control, message):
            if type(control) is MonitorP:
                self.handle(MonitorPExit(control.to, control.sender, control.ref, NOCONNECTION), None)
            elif type(control) is Link:
                self.handle(Exit(control.to, control.sender, NOCONNECTION), None)

    # --- signals in ----------------------------------------------------------------------------------------------

    def handle_local(self) -> None:
        while self._local:
            self.handle(*self._local.popleft())

    def handle(self, control: Control, message: Term) -> None:
        match control:
            case Send():
                if (process := self._by_pid.get(control.to)) is not None:
                    process.deliver(message)
            case RegSend():
                self._named(control, message)
            case AliasSend():
                if (process := self.aliases.get(control.alias)) is not None:
                    process.deliver(message)
            case MonitorP():
                self._monitored(control)
            case DemonitorP():
                if (process := self._find(control.to)) is not None:
                    process.bonds.unwatched(control.ref)
            case MonitorPExit():
                if (process := self._by_pid.get(control.to)) is not None:
                    self._deliver(process, process.bonds.down_received(control.ref, control.reason))
            case Link() if control.to not in self._by_pid:
                self._post(control.sender.node, Exit(control.to, control.sender, NOPROC))
            case Link():
                self._by_pid[control.to].bonds.link_received(control.sender)
            case Unlink() | UnlinkId():
                if (process := self._by_pid.get(control.to)) is not None:
                    process.bonds.unlink_received(control.sender)
                if type(control) is UnlinkId:
                    self._post(control.sender.node, UnlinkIdAck(control.id, control.to, control.sender))
            case UnlinkIdAck():
                if (process := self._by_pid.get(control.to)) is not None:
                    process.bonds.unlink_acknowledged(control)
            case Exit():
                if (process := self._by_pid.get(control.to)) is not None:
                    self._deliver(process, process.bonds.exit_received(control.sender, control.reason))
            case Exit2():
                self._exit(control)
            case SpawnRequest():
                refused = SpawnReply(control.ref, control.sender, 0, Atom("notsup"))
                self._post(control.sender.node, refused)
            case SpawnReply():
                self._spawned(control)
            # else: GroupLeader (nothing here writes), NodeLink (ancient), Unknown (of a newer OTP)

    @staticmethod
    def _deliver(process: Process, told: Term) -> None:
        if told is not None:
            process.deliver(told)

    def _find(self, to: Pid | Atom) -> Process | None:
        return self._by_pid.get(to) if isinstance(to, Pid) else self._names.get(to)

    def _named(self, control: RegSend, message: Term) -> None:
        process = self._names.get(control.name)
        if process is self.itself:
            answer = kernel.answer(control.name, message, self.itself.bonds.pid)
            if answer is not None:
                self._post(*answer)
        elif process is not None:
            process.deliver(message)

    def _monitored(self, control: MonitorP) -> None:
        process = self._find(control.to)
        if process is None:
            gone = MonitorPExit(control.to, control.sender, control.ref, NOPROC)
            self._post(control.sender.node, gone)
        else:
            process.bonds.watched(control)

    def _exit(self, control: Exit2) -> None:
        process = self._by_pid.get(control.to)
        if process is None:
            return
        if control.reason == _KILL and isinstance(control.reason, Atom) and process is not self.itself:
            self.end(process, Atom("killed"))
            process.killed()
        else:
            process.deliver(ExitReceived(control.sender, control.reason))

    def _spawned(self, reply: SpawnReply) -> None:
        spawning = self.spawnings.pop(reply.ref, None)
        if spawning is None:
            return
        if isinstance(reply.result, Pid):
            linked, monitored = bool(reply.flags & SpawnReply.LINKED), bool(reply.flags & SpawnReply.MONITORED)
            bonds = spawning.process.bonds
            if not spawning.abandoned:
                bonds.spawned(reply.result, reply.ref, linked=linked, monitored=monitored)
            elif linked:  # as spawn_request_abandon/1 has it
                self._post(reply.result.node, Exit(bonds.pid, reply.result, Atom("abandoned")))
            elif monitored:
                self._post(reply.result.node, DemonitorP(bonds.pid, reply.result, reply.ref))
        spawning.reply = reply
        spawning.parker.unpark()
