"""A mailbox: a process of ours, as other nodes see it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from harness.dist.arguments import check_call, check_term, check_wait, expect
from harness.dist.bonds import Bonds, Target
from harness.dist.exchange import Exchange
from harness.dist.processes import Spawning
from harness.dist.protocol.control import AliasSend, Exit2, RegSend, Send, SpawnReply, SpawnRequest
from harness.dist.runtime import Runtime
from harness.errors import CallTimeout, ConnectionLost, MailboxClosed, ReceiveTimeout, RemoteError, UsageError
from harness.etf import Atom, Pid, Reference, Term


class Mailbox:
    """Messages come in, in the order each sender sent them, and wait; there is no bound, as with Erlang's own.

    One thread (or greenlet) receives at a time; all else any may do at any time. A mailbox traps exits: `Exit` and
    `Down` values come among the messages. Only ``exit(Pid, kill)`` ends it from outside.

    `node` arguments are names of nodes that the node is connected to; a monitor or link to any other answers
    ``noconnection``.
    """

    def __init__(self, exchange: Exchange, runtime: Runtime, name: str | None = None) -> None:
        self.name = name
        self.bonds = Bonds(exchange.new_pid())
        self._exchange = exchange
        self._runtime = runtime
        self._arrived: deque[Term] = deque()
        self._saved: deque[Term] = deque()  # arrived, and passed over by a selective receive
        self._parker = runtime.parker()
        self._receiving = runtime.lock()
        self._closed = False
        exchange.add(self, name)

    @property
    def pid(self) -> Pid:
        return self.bonds.pid

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- messages ------------------------------------------------------------------------------------------------

    def send(self, to: Pid | tuple[str, str] | Reference, term: Term) -> None:
        """``To ! Term``: to a pid, a registered name at a node, or an alias.

        Raises NotSent (not connected to that node), EncodeError. That nobody is there is no error, as in Erlang.
        """
        match to:
            case Pid():
                self._exchange.send("send", Send(to), to.node, term)
            case Reference():
                self._exchange.send("send", AliasSend(self.pid, to), to.node, term)
            case (str(name), str(node)):
                self._exchange.send("send", RegSend(self.pid, Atom(name)), node, term)
            case _:
                self._expect(False, "send", "a Pid, an alias or (name, node)", to)

    def receive(self, timeout: float | None = None, match: Callable[[Any], object] | None = None) -> Any:
        """The first message for which `match` is true; the others keep their places. Without `match`: the first.

        Raises ReceiveTimeout after `timeout` seconds, MailboxClosed, UsageError (another receives here).
        """
        check_wait(timeout, "receive", self.pid.node)
        self._expect(match is None or callable(match), "receive", "a function as match", match)
        if not self._receiving.acquire(False):
            raise UsageError("receive", "another receives from this mailbox", "give each receiver a mailbox of its own")
        try:
            return self._receive(timeout, match)
        finally:
            self._receiving.release()

    def _receive(self, timeout: float | None, match: Callable[[Any], object] | None) -> Any:
        for index, message in enumerate(self._saved):
            if match is None or match(message):
                del self._saved[index]
                return message
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._arrived:
                self._saved.append(self._arrived.popleft())  # it stays there if `match` raises
                if match is None or match(self._saved[-1]):
                    return self._saved.pop()
            if self._closed:
                raise MailboxClosed("receive", "the mailbox is closed", node=self.pid.node)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise ReceiveTimeout("receive", f"nothing that matches within {timeout} s", node=self.pid.node)
            self._parker.park(left)

    def deliver(self, message: Term) -> None:
        """For the exchange, and for whoever wants to say something to the receiver."""
        if not self._closed:
            self._arrived.append(message)
            self._parker.unpark()

    # --- monitors, links, exit signals ---------------------------------------------------------------------------

    def monitor(self, target: Pid | tuple[str, str]) -> Reference:
        """A `Down` with this reference comes when `target` ends: at once if it is not there or not in reach."""
        match target:
            case Pid():
                known: Target = target
            case (str(name), str(node)):
                known = (Atom(name), Atom(node))
            case _:
                self._expect(False, "monitor", "a Pid or (name, node)", target)
        ref = self._exchange.new_reference()
        self._exchange.act(lambda: self.bonds.monitor(known, ref))
        return ref

    def demonitor(self, ref: Reference, *, flush: bool = False) -> None:
        """`flush`: its `Down`, if it has come already, is taken out (only while nobody receives)."""
        self._expect(isinstance(ref, Reference), "demonitor", "a Reference", ref)
        self._exchange.act(lambda: self.bonds.demonitor(ref))
        if flush:
            self._flush(ref)

    def _flush(self, ref: Reference) -> None:
        for waiting in (self._arrived, self._saved):
            for message in list(waiting):
                if getattr(message, "ref", None) == ref:
                    waiting.remove(message)

    def link(self, to: Pid) -> None:
        """An `Exit` comes when `to` ends, and the other way round. There is one link at most between two."""
        self._expect(isinstance(to, Pid), "link", "a Pid", to)
        self._exchange.act(lambda: self.bonds.link(to))

    def unlink(self, to: Pid) -> None:
        """No `Exit` because of the link comes from now on (one that has come before stays)."""
        self._expect(isinstance(to, Pid), "unlink", "a Pid", to)
        self._exchange.act(lambda: self.bonds.unlink(to))

    def exit(self, to: Pid, reason: Term) -> None:
        """``exit(To, Reason)``. Raises NotSent, EncodeError."""
        self._expect(isinstance(to, Pid), "exit", "a Pid", to)
        check_term(reason, "exit", to.node)
        self._exchange.send("exit", Exit2(self.pid, to, reason), to.node, None)

    # --- spawn ---------------------------------------------------------------------------------------------------

    def spawn(
        self,
        node: str,
        module: str,
        function: str,
        args: Sequence[Term] = (),
        *,
        monitor: bool = False,
        link: bool = False,
        timeout: float | None = 5.0,
    ) -> Pid | tuple[Pid, Reference]:
        """``spawn_request``: the new process at `node`; with `monitor` also the reference of the monitor.

        Its group leader is this node: what it prints is dropped, what it reads is at its end. Raises RemoteError
        (refused there), CallTimeout (it may yet be started, unlinked), NotSent, ConnectionLost, EncodeError.
        """
        self._expect(isinstance(node, str), "spawn", "the name of a node", node)
        operation = check_call("spawn", module, function, args, node)
        check_wait(timeout, "spawn", self.pid.node)
        ref = self._exchange.new_reference()
        mfa = (Atom(module), Atom(function), len(args))
        options: list[Term] = [Atom(word) for word, wanted in (("monitor", monitor), ("link", link)) if wanted]
        request = SpawnRequest(ref, self.pid, self._exchange.own_pid, mfa, options)
        spawning = Spawning(self, node, self._runtime.parker())
        self._exchange.spawn(operation, request, list(args), spawning)
        if not spawning.parker.park(timeout):
            if self._exchange.abandon(ref):
                raise CallTimeout(operation, f"no answer within {timeout} s", "it may still be started", node=node)
            spawning.parker.park()  # it is being answered at this moment
        reply: SpawnReply | None = spawning.reply
        if reply is None:
            raise ConnectionLost(operation, "the connection was lost", node=node)
        if not isinstance(reply.result, Pid):
            raise RemoteError(operation, "error", reply.result, node=node)
        return (reply.result, ref) if monitor else reply.result

    # --- aliases -------------------------------------------------------------------------------------------------

    def alias(self) -> Reference:
        """A reference that others may send to as to the pid, until `unalias`: later messages are dropped."""
        return self._exchange.make_alias(self)

    def unalias(self, alias: Reference) -> bool:
        """False: it was none (any more)."""
        self._expect(isinstance(alias, Reference), "unalias", "a Reference", alias)
        return self._exchange.drop_alias(alias)

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self, reason: Term = Atom("normal")) -> None:
        """The process ends with `reason`: links and monitors of others are told. Raises EncodeError."""
        check_term(reason, "close", self.pid.node)
        if self._exchange.end(self, reason):
            self.killed()

    def killed(self) -> None:
        """For the exchange: what has arrived can still be received."""
        self._closed = True
        self._parker.unpark()

    def _expect(self, fits: bool, operation: str, what: str, got: object) -> None:
        expect(fits, operation, what, got, self.pid.node)
