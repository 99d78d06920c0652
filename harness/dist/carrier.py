"""What a connection does with its bytes: frames queued by many go out, answers to calls come in, ticks, the end.

One reads and one writes at a time, who and when is the pump's business (see `pump`). What has been queued meanwhile by
others goes out in one send. Who reads never waits for a write: answers to ticks and to io requests are queued for
another.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections import deque
from collections.abc import Callable
from weakref import WeakSet

from harness.dist.calls import SPAWNED, Down, Envelope, IoRequest, Other, Reply, SpawnFailed
from harness.dist.core import Call
from harness.dist.inbox import DOWN, FAILED, REPLY
from harness.dist.protocol.control import Control
from harness.dist.protocol.framing import TICK
from harness.dist.runtime import Runtime, Stream
from harness.errors import ConnectionLost, DecodeError, HarnessError
from harness.etf import Term

_BATCH = 1024  # frames in one send at most, so that a join stays bounded
_TICK = 1.0  # s between ticks at most: an early one costs 4 bytes, a late one the connection


class Carrier:
    """The bytes of one established connection; see `pump.Traffic`.

    `on_message` gets (control, message) of all that is no answer to a call of this connection, in the order it came,
    from whoever reads at that moment: it must neither block nor raise. `rest`: what was read before, of the peer's.
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
        self._numbers = itertools.count(1)  # of calls
        self.calls: dict[int, Call] = {}
        self.out: deque[bytes] = deque()
        self.inbox = envelope.inbox
        self.answered = envelope.inbox.answered
        self.writing = runtime.lock()
        self._closing = runtime.lock()
        self._lost: str | None = None
        self.wrote = self.heard = False
        self._silent, self._patience = 0, max(4, math.ceil(ticktime / _TICK))  # in ticks of ours
        self._pump = runtime.pump(stream, self, peer)
        self._pump.start(rest)  # it knows its way to exchange only then
        self._write, self._wait, self._direct = self._pump.write, self._pump.wait, self._pump.exchange
        runtime.ticker.add(ticktime / self._patience, self._tick)
        _ALL.add(self)

    @property
    def closed(self) -> bool:
        return self._lost is not None

    # --- writing -----------------------------------------------------------------------------------------------

    def flush(self, wait: bool = True) -> bool:
        """See `Traffic`."""
        out = self.out
        try:
            while (out or wait) and self._lost is None:  # the queue may be empty because another sends what was in it
                if not self.writing.acquire(wait):
                    return True  # whoever writes now looks at the queue again before it leaves
                try:
                    if not out:
                        return True
                    taken = self._send_batch(out, wait)
                    if not taken:
                        out.append(b"")  # so that there is something to write: the rest goes before it
                finally:
                    self.writing.release()
                if not taken:
                    self._pump.write_aside()
                    break
        except BaseException as error:  # a signal's, at any point: nobody could tell who holds the lock now
            self._fail("interrupted while writing", error)
            raise
        return self._lost is None

    def _send_batch(self, out: deque[bytes], wait: bool) -> bool:
        """False: the stream still has some of it."""
        batch: list[bytes] = []
        try:
            for _ in range(min(len(out), _BATCH)):
                batch.append(out.popleft())
        except IndexError:
            pass  # a caller whose time is over took his frame back at this moment
        if not batch:
            return True
        hook = self.before_write
        if hook is not None:
            try:
                hook()
            except BaseException as error:  # whatever the owner's hook raises: nothing may be sent
                out.extendleft(reversed(batch))
                self._fail(f"stopped before sending: {error}", error)
                if not isinstance(error, Exception):
                    raise
                return True
        self.wrote = True
        try:
            return self._sendall(batch[0] if len(batch) == 1 else b"".join(batch), wait)
        except OSError as error:
            self._fail(f"write failed: {error.strerror or error}", error)
            return True

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
        if self._silent >= self._patience and not self._stream.arrived():
            self._pump.soon(lambda: self._fail("the node is silent: no tick for longer than its ticktime"))
        return True

    def forked(self) -> None:
        """In the child of a fork: the socket is the parent's, who alone reads, writes and ends it."""
        self._closing.acquire(False)
        self._lost = "it belongs to the process that this one was forked from"

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


_ALL: WeakSet[Carrier] = WeakSet()


def _forked() -> None:
    for carrier in list(_ALL):
        carrier.forked()


os.register_at_fork(after_in_child=_forked)
