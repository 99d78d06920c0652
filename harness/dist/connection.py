"""One established connection: many callers, one who reads, one who writes at a time.

A caller registers its call under a number, queues its frame and waits; whoever reads (see `pump`) finds the call by
the number in the reply and wakes it. What has been queued meanwhile by others goes out in one send. Who reads never
waits for a write: answers to ticks and to io requests are queued for another.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from harness.dist.arguments import expect, explain
from harness.dist.calls import SPAWNED, Down, Envelope, IoRequest, Other, Reply, SpawnFailed
from harness.dist.core import Call
from harness.dist.inbox import DOWN, FAILED, REPLY
from harness.dist.protocol.control import Control, write
from harness.dist.protocol.framing import TICK
from harness.dist.pump import LOOK
from harness.dist.results import erpc_result, rpc_result
from harness.dist.runtime import Runtime, Stream
from harness.errors import CallTimeout, ConnectionLost, DecodeError, DistError, HarnessError, NotSent
from harness.etf import Pid, Term

_BATCH = 1024  # frames in one send at most, so that a join stays bounded
_TICK = 1.0  # s between ticks at most: an early one costs 4 bytes, a late one the connection

Builder = Callable[[int, str, str, Sequence[Term]], bytes]


class Connection:
    """A hidden node's connection to `peer`; made by `connect`. Any thread (or greenlet) may call at any time.

    ``before_write`` is called just before each send, with the frames of all callers in it not yet sent: what must
    be on disk first can be written there. If it raises, nothing is sent and the connection closes.

    `on_message` gets (control, message) of all that is no answer to a call of this connection, in the order it came,
    from whoever reads at that moment: it must neither block nor raise.
    """

    def __init__(
        self,
        stream: Stream,
        runtime: Runtime,
        envelope: Envelope,
        *,
        peer: str,
        flags: int,
        ticktime: float,
        rest: bytes = b"",
        on_close: Callable[[HarnessError], None] | None = None,
        on_message: Callable[[Control, Term], None] | None = None,
    ) -> None:
        self.peer = peer
        self.otp_flags = flags
        self.before_write: Callable[[], None] | None = None
        self._stream = stream
        self._sendall = stream.sendall
        self._runtime = runtime
        self._envelope = envelope
        self._on_close = on_close
        self._on_message = on_message
        self._numbers = itertools.count(1)
        self.calls: dict[int, Call] = {}
        self.out: deque[bytes] = deque()
        self.inbox = envelope.inbox
        self.answered = envelope.inbox.answered
        self.writing = runtime.lock()
        self._closing = runtime.lock()
        self._lost: str | None = None
        self.wrote = self.heard = False
        every = min(ticktime / 4, _TICK)
        self._silent, self._patience = 0, round(ticktime / every)  # in ticks of ours
        self._pump = runtime.pump(stream, self, peer)
        self._write = self._pump.write
        self._wait = self._pump.wait
        self._direct = self._pump.exchange
        self._pump.start(rest)
        runtime.ticker.add(every, self._tick)

    @property
    def closed(self) -> bool:
        return self._lost is not None

    # --- what callers use --------------------------------------------------------------------------------------

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        """``rpc:call/4``: what the function returned, or threw (rex does not tell these apart).

        `timeout`: seconds for the answer. On threads a caller that writes to a node which does not read waits for that,
        too, a ticktime at most; greenlets do not.

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
        """``rpc:cast/4``: queued for sending, nothing comes back. Raises NotSent, EncodeError."""
        self._queue("cast", self._envelope.cast, module, function, args)

    def send_named(self, name: str, term: Term) -> None:
        """``{name, Peer} ! term``. Raises NotSent, EncodeError."""
        expect(isinstance(name, str), "send", "a registered name", name, self.peer)
        self._queue("send", self._envelope.send_named, name, term)

    def send(self, to: Pid, term: Term) -> None:
        """``To ! term``. Raises NotSent, EncodeError."""
        expect(isinstance(to, Pid), "send", "a Pid", to, self.peer)
        self._queue("send", self._envelope.send, to, term)

    def send_control(self, control: Control, message: Term = None) -> None:
        """Any control message, with its message where it has one. Raises NotSent, EncodeError."""
        self._queue("send", write, control, message)

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
        except Exception as error:
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

    def _queue(self, kind: str, build: Callable[..., bytes], *given: Any) -> None:
        try:
            frame = build(*given)
        except Exception as error:
            explain(error, kind, self.peer, *given)
            raise
        if self._lost is not None:
            raise self._not_sent(kind)
        self.out.append(frame)
        self._write()

    def _not_sent(self, kind: str) -> NotSent:
        return NotSent(kind, f"not sent, the connection is gone: {self._lost}", node=self.peer)

    def _timed_out(self, call: Call, operation: str, timeout: float | None) -> DistError:
        try:
            self.out.remove(call.frame)
        except ValueError:
            return CallTimeout(operation, f"no answer within {timeout} s", "it may still take effect", node=self.peer)
        return NotSent(operation, f"not sent within {timeout} s, the node does not read", node=self.peer)

    # --- writing -----------------------------------------------------------------------------------------------

    def flush(self) -> bool:
        """See `Traffic`."""
        out = self.out
        try:
            while out and self._lost is None:
                if not self.writing.acquire(False):
                    return True  # whoever writes now looks at the queue again before it leaves
                try:
                    self._send_batch(out)
                finally:
                    self.writing.release()
        except BaseException as error:  # a signal's, at any point: nobody could tell who holds the lock now
            self._fail("interrupted while writing", error)
            raise
        return self._lost is None

    def _send_batch(self, out: deque[bytes]) -> None:
        batch: list[bytes] = []
        try:
            for _ in range(min(len(out), _BATCH)):
                batch.append(out.popleft())
        except IndexError:
            pass  # a caller whose time is over took his frame back at this moment
        if not batch:
            return
        hook = self.before_write
        if hook is not None:
            try:
                hook()
            except BaseException as error:  # whatever the owner's hook raises: nothing may be sent
                out.extendleft(reversed(batch))
                self._fail(f"stopped before sending: {error}", error)
                if not isinstance(error, Exception):
                    raise
                return
        try:
            self._sendall(batch[0] if len(batch) == 1 else b"".join(batch))
        except OSError as error:
            self._fail(f"write failed: {error.strerror or error}", error)
        self.wrote = True

    # --- reading -----------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """See `Traffic`. Raises DecodeError, and whatever `on_message` raises."""
        self.heard = True
        self.inbox.receive(data, self.calls)
        if self.inbox.others:
            others, self.inbox.others = self.inbox.others, []
            for packet in others:
                self._other(packet)

    def _other(self, packet: bytes) -> None:
        """A packet in which the inbox does not see the answer to a call."""
        if not packet:
            self._later(TICK)
            return
        event = self._envelope.receive(packet)
        match event:
            case Reply():
                self._answer(event.number, REPLY, event.packet, event.offset)
            case Down():
                self._answer(event.number, DOWN, event.packet, event.offset)
            case SpawnFailed():
                self._answer(event.number, FAILED, event.reason, 0)
            case IoRequest():
                self._later(self._envelope.io_reply(event))
            case Other() if event is not SPAWNED and self._on_message is not None:
                self._on_message(event.control, event.message)

    def _answer(self, number: int, kind: int, packet: Term, offset: int) -> None:
        call = self.calls.pop(number, None)
        if call is not None:  # None: it came after its caller had given up
            call.kind, call.packet, call.offset, call.done = kind, packet, offset, True
            self.answered.append(call)

    def ended(self, error: BaseException | None) -> None:
        """See `Traffic`."""
        match error:
            case None:
                cause = "closed by the node"
            case OSError():
                cause = f"read failed: {error.strerror or error}"
            case DecodeError():
                cause = f"the node sent what cannot be read: {error}"
            case Exception():  # a defect of ours: without a reader no caller would ever be answered
                cause = f"reading failed: {type(error).__name__}: {error}"
            case _:
                cause = "interrupted while reading"
        while self.answered:  # by what was read before the error
            self._pump.wake(self.answered.pop())
        self._fail(cause, error)

    def _later(self, frame: bytes) -> None:
        self.out.append(frame)
        self._pump.write_aside()

    def _tick(self) -> bool:
        """Called by the ticker, in a thread of its own: nothing here may wait or touch greenlets.

        A peer is dead after a ticktime of silence, seen within the next tick. Where this very process stood still, a
        tick counts once however late it came, and what has arrived unread is no silence.
        """
        if self._lost is not None:
            return False
        if not self.wrote:
            with contextlib.suppress(OSError):  # whoever reads finds out
                self._stream.offer(TICK)
        self.wrote = False
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._silent > self._patience and not self._stream.arrived():
            self._pump.soon(lambda: self._fail("the node is silent: no tick for longer than its ticktime"))
        return True

    # --- the end -----------------------------------------------------------------------------------------------

    def _fail(self, cause: str, error: BaseException | None = None, *, told: bool = True) -> None:
        """Close once, for `cause`, and let every caller know at once."""
        if not self._closing.acquire(False):
            return
        self._lost = cause
        self._pump.stop()
        self._stream.close()
        unsent = set(map(id, list(self.out)))
        for number in list(self.calls):
            call = self.calls.pop(number, None)
            if call is not None:
                call.unsent = id(call.frame) in unsent
                call.done = True
                self._pump.wake(call)
        if told and self._on_close is not None:
            lost = ConnectionLost("connection", cause, node=self.peer)
            lost.__cause__ = error
            on_close = self._on_close
            self._runtime.spawn(lambda: on_close(lost), f"dist-close {self.peer}")
