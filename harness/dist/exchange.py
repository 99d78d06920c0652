"""Between the connections of a node of ours and its processes.

All that concerns more than one process or connection happens under one lock, in which nothing blocks: what has to be
sent is posted to a connection's queue. Signals from one process to another of this node take the same way.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from harness.dist.arguments import explain
from harness.dist.bonds import Outgoing
from harness.dist.events import NodeDown, NodeEvent, NodeUp
from harness.dist.processes import Process, Processes, Spawning
from harness.dist.protocol.control import Control, SpawnRequest
from harness.dist.runtime import Runtime
from harness.errors import ConnectionLost, DecodeError, EncodeError, HarnessError, NotSent
from harness.etf import Atom, DecodeOptions, Pid, Reference, Term, decode, encode


class Peer(Protocol):
    """What the exchange needs of a connection."""

    peer: str

    def post(self, control: Control, message: Term = None) -> None:
        """Queue it for whoever writes; never blocks; on a connection that is gone it does nothing."""
        ...

    def send_control(self, control: Control, message: Term = None, *, wait: bool = True) -> None: ...


Connected = TypeVar("Connected", bound=Peer)


class Exchange:
    """The processes, names, aliases and connections of the node `name`."""

    def __init__(
        self,
        name: str,
        creation: int,
        runtime: Runtime,
        limits: DecodeOptions,
        subscribers: Sequence[Callable[[NodeEvent], None]] = (),
    ) -> None:
        self.name = Atom(name)
        self.creation = creation
        self.connections: dict[str, Peer] = {}
        self._limits = limits
        self._subscribers = subscribers
        self._processes = Processes(name, creation, self._post)
        self._lock = runtime.lock()
        self._telling = runtime.lock()
        self._events: deque[NodeEvent] = deque()

    @property
    def own_pid(self) -> Pid:
        """Process number 1, the node itself."""
        return self._processes.itself.bonds.pid

    # --- what processes do ---------------------------------------------------------------------------------------

    def new_pid(self) -> Pid:
        return self._processes.new_pid()

    def new_reference(self) -> Reference:
        return self._processes.new_reference()

    def add(self, process: Process, name: str | None) -> None:
        """Raises UsageError for a name that is taken."""
        with self._locked():
            self._processes.add(process, name)

    def end(self, process: Process, reason: Term) -> bool:
        """Take `process` off; those bound to it are told `reason`. False if it is off already."""
        with self._locked():
            return self._processes.end(process, reason)

    def act(self, does: Callable[[], Outgoing]) -> None:
        """Run `does`, which changes the bonds of a process, and post what it says."""
        with self._locked():
            self._processes.post_all(does())

    def send(self, operation: str, control: Control, node: str, message: Term, *, wait: bool = True) -> None:
        """A message of a process of ours; `wait`: see `Connection.send_control`. Raises NotSent, EncodeError."""
        try:
            if node == self.name:
                copy, _ = decode(encode(message), 0, self._limits)  # as if it had travelled; nobody shares it
                with self._locked():
                    self._processes.handle(control, copy)
                return
            connection = self.connections.get(node)
            if connection is None:
                raise NotSent(operation, "not connected", "connect to it first", node=node)
            connection.send_control(control, message, wait=wait)
        except EncodeError as error:
            explain(error, operation, node)
            raise
        except DecodeError as error:
            raise EncodeError(operation, f"beyond the limits of this node: {error.cause}", node=node) from error

    def make_alias(self, process: Process) -> Reference:
        alias = self.new_reference()
        with self._locked():
            self._processes.aliases[alias] = process
        return alias

    def drop_alias(self, alias: Reference) -> bool:
        with self._locked():
            return self._processes.aliases.pop(alias, None) is not None

    def spawn(self, operation: str, request: SpawnRequest, args: list[Term], spawning: Spawning) -> None:
        """Raises NotSent when there is no connection, EncodeError."""
        with self._locked():
            self._processes.spawnings[request.ref] = spawning
        try:
            self.send(operation, request, spawning.node, args, wait=False)
        except BaseException:
            with self._locked():
                self._processes.spawnings.pop(request.ref, None)
            raise

    def abandon(self, ref: Reference) -> bool:
        """Nobody waits for this spawn any more. False: it has just been answered."""
        with self._locked():
            spawning = self._processes.spawnings.get(ref)
            if spawning is not None:
                spawning.abandoned = True
            return spawning is not None

    # --- what connections do -------------------------------------------------------------------------------------

    def connected(self, make: Callable[[], Connected], *, hidden: bool) -> tuple[Connected, Peer | None]:
        """Take in the connection that `make` makes (nothing of it is received before), in the place of another to
        that peer, which is given back. `tell` is left to whoever calls.
        """
        with self._locked():
            connection = make()
            before = self.connections.get(connection.peer)
            if before is not None:
                self._lose(before, ConnectionLost("connection", "the node has connected anew", node=connection.peer))
            self.connections[connection.peer] = connection
            self._events.append(NodeUp(connection.peer, hidden))
            return connection, before

    def lost(self, connection: Peer, error: HarnessError) -> None:
        """The connection is gone; nothing if another has taken its place before."""
        with self._locked():
            if self.connections.get(connection.peer) is connection:
                self._lose(connection, error)
        self.tell()

    def close(self) -> None:
        """Every process ends; there are no connections any more."""
        with self._locked():
            self._processes.end_all()

    def tell(self) -> None:
        """Node events go to subscribers, in the order they happened. Not from whoever reads: subscribers may block."""
        while self._events:
            if not self._telling.acquire(False):
                return  # whoever tells now looks again before it leaves
            try:
                while self._events:
                    event = self._events.popleft()
                    for subscriber in list(self._subscribers):
                        subscriber(event)
            finally:
                self._telling.release()

    def receive(self, control: Control, message: Term) -> None:
        """From a connection; never blocks."""
        with self._locked():
            self._processes.handle(control, message)

    # --- under the lock ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
            self._processes.handle_local()
        finally:
            self._lock.release()

    def _lose(self, connection: Peer, error: HarnessError) -> None:
        del self.connections[connection.peer]
        self._processes.node_lost(connection.peer)
        self._events.append(NodeDown(connection.peer, error))

    def _post(self, node: str, control: Control, message: Term) -> bool:
        connection = self.connections.get(node)
        if connection is not None:
            connection.post(control, message)
        return connection is not None
