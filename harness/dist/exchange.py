"""Between the connections of a node of ours and its processes: signals in, signals out, one at a time.

All that concerns more than one process or connection happens under one lock, in which nothing blocks: what has to be
sent is posted to a connection's queue. Signals from one process to another of this node take the same way.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from harness.dist import kernel
from harness.dist.bonds import NOCONNECTION, NOPROC, Bonds, Outgoing
from harness.dist.control import (
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
from harness.dist.events import Exit as ExitReceived
from harness.dist.events import NodeDown, NodeEvent, NodeUp
from harness.dist.runtime import Parker, Runtime
from harness.errors import HarnessError, NotSent, UsageError
from harness.etf import Atom, Pid, Reference, Term, decode, encode

_KILL = Atom("kill")


class Peer(Protocol):
    """What the exchange needs of a connection."""

    peer: str

    def post(self, control: Control, message: Term = None) -> None:
        """Queue it for whoever writes; never blocks; on a connection that is gone it does nothing."""
        ...

    def send_control(self, control: Control, message: Term = None) -> None: ...


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


class Exchange:
    """The processes, names, aliases and connections of the node `name`."""

    def __init__(self, name: str, creation: int, runtime: Runtime) -> None:
        self.name = Atom(name)
        self.creation = creation
        self.connections: dict[str, Peer] = {}
        self.subscribers: list[Callable[[NodeEvent], None]] = []
        self._lock = runtime.lock()
        self._telling = runtime.lock()
        self._events: deque[NodeEvent] = deque()
        self._local: deque[tuple[Control, Term]] = deque()
        self._numbers = itertools.count(1)
        self._references = itertools.count(1)
        self._processes: dict[Pid, Process] = {}
        self._names: dict[str, Process] = {}
        self._aliases: dict[Reference, Process] = {}
        self._spawnings: dict[Reference, Spawning] = {}
        self.itself = _NodeItself(self.new_pid())
        self._processes[self.itself.bonds.pid] = self.itself
        for known in kernel.NAMES:
            self._names[known] = self.itself

    # --- what processes do ---------------------------------------------------------------------------------------

    def new_pid(self) -> Pid:
        number = next(self._numbers)
        return Pid(self.name, number & 0x7FFF, number >> 15, self.creation)

    def new_reference(self) -> Reference:
        """Series 0: the calls of connections have others."""
        number = next(self._references)
        return Reference(self.name, self.creation, (0, number >> 32, number & 0xFFFFFFFF))

    def add(self, process: Process, name: str | None) -> None:
        """Raises UsageError for a name that is taken."""
        with self._locked():
            if name is not None:
                if name in self._names:
                    raise UsageError("mailbox", f"the name {name} is taken", "names are unique within a node")
                self._names[name] = process
            self._processes[process.bonds.pid] = process

    def end(self, process: Process, reason: Term) -> bool:
        """Take `process` off; those bound to it are told `reason`. False if it is off already."""
        with self._locked():
            return self._end(process, reason)

    def act(self, does: Callable[[], Outgoing]) -> None:
        """Run `does`, which changes the bonds of a process, and post what it says."""
        with self._locked():
            self._post_all(does())

    def send(self, control: Control, node: str, message: Term) -> None:
        """A message of a process of ours. Raises NotSent, EncodeError."""
        if node == self.name:
            copy, _ = decode(encode(message))  # what it would be after travelling; nobody shares it
            with self._locked():
                self._handle(control, copy)
            return
        connection = self.connections.get(node)
        if connection is None:
            raise NotSent("send", "not connected", "connect to it first", node=node)
        connection.send_control(control, message)

    def make_alias(self, process: Process) -> Reference:
        alias = self.new_reference()
        with self._locked():
            self._aliases[alias] = process
        return alias

    def drop_alias(self, alias: Reference) -> bool:
        with self._locked():
            return self._aliases.pop(alias, None) is not None

    def spawn(self, request: SpawnRequest, args: list[Term], node: str, spawning: Spawning) -> None:
        """Raises NotSent when there is no connection."""
        with self._locked():
            self._spawnings[request.ref] = spawning
        try:
            self.send(request, node, args)
        except BaseException:
            with self._locked():
                self._spawnings.pop(request.ref, None)
            raise

    def abandon(self, ref: Reference) -> bool:
        """Nobody waits for this spawn any more. False: it has just been answered."""
        with self._locked():
            spawning = self._spawnings.get(ref)
            if spawning is not None:
                spawning.abandoned = True
            return spawning is not None

    # --- what connections do -------------------------------------------------------------------------------------

    def connected(self, connection: Peer, hidden: bool) -> None:
        with self._locked():
            self.connections[connection.peer] = connection
            self._events.append(NodeUp(connection.peer, hidden))

    def lost(self, connection: Peer, error: HarnessError) -> bool:
        """The connection is gone. False: it was not (or no longer) the one to its peer."""
        node = connection.peer
        with self._locked():
            if self.connections.get(node) is not connection:
                return False
            del self.connections[node]
            for process in list(self._processes.values()):
                for told in process.bonds.node_lost(node):
                    process.deliver(told)
            for ref, spawning in list(self._spawnings.items()):
                if spawning.node == node:
                    del self._spawnings[ref]
                    spawning.parker.unpark()
            self._events.append(NodeDown(node, error))
            return True

    def receive(self, control: Control, message: Term) -> None:
        """From a connection; never blocks."""
        with self._locked():
            self._handle(control, message)

    # --- under the lock ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
            while self._local:
                self._handle(*self._local.popleft())
        finally:
            self._lock.release()
        self._tell()

    def _tell(self) -> None:
        """Node events go to subscribers in the order they happened, outside the lock."""
        while self._events:
            if not self._telling.acquire(False):
                return  # whoever tells now looks again before it leaves
            try:
                while self._events:
                    event = self._events.popleft()
                    for subscriber in list(self.subscribers):
                        subscriber(event)
            finally:
                self._telling.release()

    def _end(self, process: Process, reason: Term) -> bool:
        if self._processes.pop(process.bonds.pid, None) is None:
            return False
        for name in [name for name, held in self._names.items() if held is process]:
            del self._names[name]
        for alias in [alias for alias, held in self._aliases.items() if held is process]:
            del self._aliases[alias]
        self._post_all(process.bonds.ended(reason))
        return True

    def _post_all(self, out: Outgoing) -> None:
        for node, control in out:
            self._post(node, control)

    def _post(self, node: str, control: Control, message: Term = None) -> None:
        if node == self.name:
            self._local.append((control, message))
        elif (connection := self.connections.get(node)) is not None:
            connection.post(control, message)
        elif type(control) is MonitorP:
            self._handle(MonitorPExit(control.to, control.sender, control.ref, NOCONNECTION), None)
        elif type(control) is Link:
            self._handle(Exit(control.to, control.sender, NOCONNECTION), None)

    def _handle(self, control: Control, message: Term) -> None:
        match control:
            case Send():
                if (process := self._processes.get(control.to)) is not None:
                    process.deliver(message)
            case RegSend():
                self._named(control, message)
            case AliasSend():
                if (process := self._aliases.get(control.alias)) is not None:
                    process.deliver(message)
            case MonitorP():
                self._monitored(control)
            case DemonitorP():
                if (process := self._find(control.to)) is not None:
                    process.bonds.unwatched(control.ref)
            case MonitorPExit():
                if (process := self._processes.get(control.to)) is not None:
                    self._deliver(process, process.bonds.down_received(control.ref, control.reason))
            case Link() if control.to not in self._processes:
                self._post(control.sender.node, Exit(control.to, control.sender, NOPROC))
            case Link():
                self._processes[control.to].bonds.link_received(control.sender)
            case Unlink() | UnlinkId():
                if (process := self._processes.get(control.to)) is not None:
                    process.bonds.unlink_received(control.sender)
                if type(control) is UnlinkId:
                    self._post(control.sender.node, UnlinkIdAck(control.id, control.to, control.sender))
            case UnlinkIdAck():
                if (process := self._processes.get(control.to)) is not None:
                    process.bonds.unlink_acknowledged(control)
            case Exit():
                if (process := self._processes.get(control.to)) is not None:
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
        return self._processes.get(to) if isinstance(to, Pid) else self._names.get(to)

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
        process = self._processes.get(control.to)
        if process is None:
            return
        if control.reason == _KILL and isinstance(control.reason, Atom) and process is not self.itself:
            self._end(process, Atom("killed"))
            process.killed()
        else:
            process.deliver(ExitReceived(control.sender, control.reason))

    def _spawned(self, reply: SpawnReply) -> None:
        spawning = self._spawnings.pop(reply.ref, None)
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
