"""One established connection, as its many callers see it.

A caller registers its call under a number, queues its frame and waits; whoever reads (see `pump`) finds the call by
the number in the reply and wakes it. What becomes of the bytes is the carrier's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.dist.arguments import LONGEST_WAIT, check_wait, expect, explain
from harness.dist.carrier import Carrier
from harness.dist.core import Call
from harness.dist.protocol.control import Control, write
from harness.dist.pump import LOOK
from harness.dist.results import erpc_result, rpc_result
from harness.errors import CallTimeout, ConnectionLost, DistError, NotSent
from harness.etf import Pid, Term

Builder = Callable[[int, str, str, Sequence[Term]], bytes]


class Connection(Carrier):
    """A hidden node's connection to `peer`; made by `connect`. Any thread (or greenlet) may call at any time.

    ``before_write`` is called just before each send, with the frames of all callers in it not yet sent: what must
    be on disk first can be written there. If it raises, nothing is sent and the connection closes.
    """

    # --- what callers use --------------------------------------------------------------------------------------

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        """``rpc:call/4``: what the function returned, or threw (rex does not tell these apart).

        `timeout`: seconds for the answer, however long it takes until the node has read the question.

        Raises NotSent (certainly not done), ConnectionLost and CallTimeout (perhaps done), RemoteError (it failed
        there), EncodeError (an argument that is no term).
        """
        answer = self._await(self._envelope.call, "rpc", module, function, args, timeout)
        return rpc_result(self._envelope, answer, self.peer, module, function, args)

    def erpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        """``erpc:call/4``: as `rpc`, and RemoteError tells ``error``, ``exit`` and ``throw`` apart."""
        answer = self._await(self._envelope.spawn, "erpc", module, function, args, timeout)
        return erpc_result(self._envelope, answer, self.peer, module, function, args)

    def cast(self, module: str, function: str, args: Sequence[Term] = ()) -> None:
        """``rpc:cast/4``: nothing comes back. Who casts or sends on threads waits for a node that does not read.

        Raises NotSent, EncodeError.
        """
        self._queue("cast", self._envelope.cast, module, function, args)

    def send_named(self, name: str, term: Term) -> None:
        """``{name, Peer} ! term``. Raises NotSent, EncodeError."""
        expect(isinstance(name, str), "send", "a registered name", name, self.peer)
        self._queue("send", self._envelope.send_named, name, term)

    def send(self, to: Pid, term: Term) -> None:
        """``To ! term``. Raises NotSent, EncodeError."""
        expect(isinstance(to, Pid), "send", "a Pid", to, self.peer)
        self._queue("send", self._envelope.send, to, term)

    def send_control(self, control: Control, message: Term = None, *, wait: bool = True) -> None:
        """Any control message, with its message where it has one. `wait`: as `cast` does; else the caller waits for an
        answer, with a timeout. Raises NotSent, EncodeError.
        """
        self._queue("send", write, control, message, wait=wait)

    def post(self, control: Control, message: Term = None) -> None:
        """As `send_control`, for those who read: never blocks, and does nothing once the connection is gone."""
        self._later(write(control, message))

    def close(self) -> None:
        """End the connection. Callers that still wait get ConnectionLost; ``on_close`` is not called."""
        self._fail("closed by this side", told=False)

    # --- callers' side -----------------------------------------------------------------------------------------

    def _await(
        self, build: Builder, kind: str, module: str, function: str, args: Sequence[Term], timeout: float | None
    ) -> Call:
        number = next(self._numbers)
        try:
            call = Call(build(number, module, function, args))
            if timeout is not None and not timeout <= LONGEST_WAIT:
                raise ValueError
        except Exception as error:
            check_wait(timeout, kind, self.peer)
            explain(error, kind, self.peer, module, function, args)
            raise
        self.calls[number] = call
        if self._lost is not None:  # looked at after the call is in place: whoever closes empties the calls later
            self.calls.pop(number, None)
            raise self._not_sent(kind)
        spent, left = -1.0, timeout
        try:
            if self._direct is not None and self.before_write is None and (timeout is None or timeout > LOOK):
                spent = self._direct(number, call, timeout)
            if spent < 0:
                self.out.append(call.frame)
            elif left is not None:
                left -= spent
            if not call.done:
                self._write()
            if not call.done and not self._wait(call, left):
                if self.calls.pop(number, None) is not None:
                    raise self._timed_out(call, f"{kind} {module}:{function}/{len(args)}", timeout)
                self._wait(call, None)  # whoever reads holds the call at this moment
        except BaseException:  # a killed greenlet, Ctrl-C: nobody will come for the answer
            self.calls.pop(number, None)
            raise
        if call.kind:
            return call
        if call.unsent:
            raise self._not_sent(kind)
        raise ConnectionLost(f"{kind} {module}:{function}/{len(args)}", self._lost or "", node=self.peer)

    def _queue(self, kind: str, build: Callable[..., bytes], *given: Any, wait: bool = True) -> None:
        try:
            frame = build(*given)
        except Exception as error:
            explain(error, kind, self.peer, *given)
            raise
        if self._lost is not None:
            raise self._not_sent(kind)
        self.out.append(frame)
        if wait:
            self._pump.write_through()
        else:
            self._write()

    def _not_sent(self, kind: str) -> NotSent:
        return NotSent(kind, f"not sent, the connection is gone: {self._lost}", node=self.peer)

    def _timed_out(self, call: Call, operation: str, timeout: float | None) -> DistError:
        try:
            self.out.remove(call.frame)
        except ValueError:
            return CallTimeout(operation, f"no answer within {timeout} s", "it may still take effect", node=self.peer)
        return NotSent(operation, f"not sent within {timeout} s, the node does not read", node=self.peer)
