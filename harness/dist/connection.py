"""One established connection: many callers, one reader, one writer at a time.

A caller registers a slot under its number, queues its frame and parks; the reader finds the slot by the number in the
reply and unparks it. What has been queued meanwhile by others goes out in one send. The reader never writes (a peer
that does not read would stop it): ticks and answers to io requests are written by the housekeeper.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence

from harness.dist.calls import SPAWNED, Down, Envelope, Event, IoRequest, Other, Reply, SpawnFailed
from harness.dist.control import Control, write
from harness.dist.framing import TICK, Deframer
from harness.dist.runtime import Parker, Runtime, Stream
from harness.errors import CallTimeout, ConnectionLost, DecodeError, DistError, HarnessError, NotSent, RemoteError
from harness.etf import Pid, Term

_RECEIVE = 1 << 18
_BATCH = 1024  # frames in one send at most, so that a join stays bounded

Builder = Callable[[int, str, str, Sequence[Term]], bytes]


class _Slot:
    __slots__ = ("event", "frame", "parker", "unsent")

    def __init__(self, frame: bytes, parker: Parker) -> None:
        self.frame = frame
        self.parker = parker
        self.event: Event | None = None  # None after unpark: the connection was lost
        self.unsent = False  # ... and the frame had not been handed to the kernel


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
        self._runtime = runtime
        self._envelope = envelope
        self._on_close = on_close
        self._on_message = on_message
        self._numbers = itertools.count(1)
        self._slots: dict[int, _Slot] = {}
        self._out: deque[bytes] = deque()
        self._writing = runtime.lock()
        self._closing = runtime.lock()
        self._lost: str | None = None
        self._wrote = False
        self._housekeeper = runtime.parker()
        self._tick_every = min(ticktime / 4, 1.0)  # an early tick costs 4 bytes, a late one the connection
        stream.settimeout(ticktime * 1.25)  # silence longer than that, and the peer is dead (as OTP counts)
        self._write = runtime.writer(self._flush)
        runtime.spawn(lambda: self._read(rest), f"dist-read {peer}")
        runtime.spawn(self._keep_house, f"dist-tick {peer}")

    @property
    def closed(self) -> bool:
        return self._lost is not None

    # --- what callers use --------------------------------------------------------------------------------------

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        """``rpc:call/4``: what the function returned, or threw (rex does not tell these apart).

        Raises NotSent (certainly not done), ConnectionLost and CallTimeout (perhaps done), RemoteError (it failed
        there), EncodeError (an argument that is no term).
        """
        event = self._await(self._envelope.call, "rpc", module, function, args, timeout)
        value = self._result(event, "rpc", module, function, args)
        if type(value) is tuple and len(value) == 2 and value[0] == "badrpc":
            raise self._badrpc(f"rpc {module}:{function}/{len(args)}", value[1])
        return value

    def erpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        """``erpc:call/4``: as `rpc`, and RemoteError tells ``error``, ``exit`` and ``throw`` apart."""
        event = self._await(self._envelope.spawn, "erpc", module, function, args, timeout)
        operation = f"erpc {module}:{function}/{len(args)}"
        if type(event) is SpawnFailed:
            raise RemoteError(operation, "badrpc", event.reason, node=self.peer)
        match self._result(event, "erpc", module, function, args):
            case (_, "return", value):
                return value
            case (_, "error", reason, stack):
                raise RemoteError(operation, "error", (reason, stack), node=self.peer)
            case (_, "error" | "exit" | "throw" as klass, reason):
                raise RemoteError(operation, str(klass), reason, node=self.peer)
            case reason:  # the process was killed from outside, or erpc itself is not there
                raise RemoteError(operation, "exit", reason, node=self.peer)

    def cast(self, module: str, function: str, args: Sequence[Term] = ()) -> None:
        """``rpc:cast/4``: queued for sending, nothing comes back. Raises NotSent, EncodeError."""
        self._queue(self._envelope.cast(module, function, args), "cast")

    def send_named(self, name: str, term: Term) -> None:
        """``{name, Peer} ! term``. Raises NotSent, EncodeError."""
        self._queue(self._envelope.send_named(name, term), "send")

    def send(self, to: Pid, term: Term) -> None:
        """``To ! term``. Raises NotSent, EncodeError."""
        self._queue(self._envelope.send(to, term), "send")

    def send_control(self, control: Control, message: Term = None) -> None:
        """Any control message, with its message where it has one. Raises NotSent, EncodeError."""
        self._queue(write(control, message), "send")

    def post(self, control: Control, message: Term = None) -> None:
        """As `send_control`, for those who read: never blocks, and does nothing once the connection is gone."""
        self._later(write(control, message))

    def close(self) -> None:
        """End the connection. Callers that still wait get ConnectionLost; ``on_close`` is not called."""
        self._fail("closed by this side", told=False)

    # --- callers' side -----------------------------------------------------------------------------------------

    def _await(
        self, build: Builder, kind: str, module: str, function: str, args: Sequence[Term], timeout: float | None
    ) -> Event:
        number = next(self._numbers)
        slot = _Slot(build(number, module, function, args), self._runtime.parker())
        self._slots[number] = slot
        if self._lost is not None:  # looked at after the slot is in place: whoever closes empties the slots later
            self._slots.pop(number, None)
            raise self._not_sent(kind)
        self._out.append(slot.frame)
        self._write()
        try:
            if not slot.parker.park(timeout):
                if self._slots.pop(number, None) is not None:
                    raise self._timed_out(slot, f"{kind} {module}:{function}/{len(args)}", timeout)
                slot.parker.park()  # the reader holds the slot at this moment and is about to unpark
        except BaseException:  # a killed greenlet, Ctrl-C: nobody will come for the answer
            self._slots.pop(number, None)
            raise
        if slot.event is not None:
            return slot.event
        if slot.unsent:
            raise self._not_sent(kind)
        raise ConnectionLost(f"{kind} {module}:{function}/{len(args)}", self._lost or "", node=self.peer)

    def _queue(self, frame: bytes, kind: str) -> None:
        if self._lost is not None:
            raise self._not_sent(kind)
        self._out.append(frame)
        self._write()

    def _not_sent(self, kind: str) -> NotSent:
        return NotSent(kind, f"not sent, the connection is gone: {self._lost}", node=self.peer)

    def _timed_out(self, slot: _Slot, operation: str, timeout: float | None) -> DistError:
        try:
            self._out.remove(slot.frame)
        except ValueError:
            return CallTimeout(operation, f"no answer within {timeout} s", "it may still take effect", node=self.peer)
        return NotSent(operation, f"not sent within {timeout} s, the node does not read", node=self.peer)

    def _result(self, event: Event, kind: str, module: str, function: str, args: Sequence[Term]) -> Term:
        assert type(event) is Reply or type(event) is Down
        try:
            return self._envelope.result(event)
        except DecodeError as error:
            operation = f"{kind} {module}:{function}/{len(args)}"
            raise RemoteError(operation, "badrpc", f"unreadable answer: {error}", node=self.peer) from error

    def _badrpc(self, operation: str, reason: Term) -> RemoteError:
        match reason:
            case ("EXIT", (_, [*_]) as error):  # a stack trace comes with errors only
                return RemoteError(operation, "error", error, node=self.peer)
            case ("EXIT", why):
                return RemoteError(operation, "exit", why, node=self.peer)
        return RemoteError(operation, "badrpc", reason, node=self.peer)

    # --- writing -----------------------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Send what is queued; False when the connection is gone. See `Runtime.writer`."""
        out = self._out
        while out and self._lost is None:
            if not self._writing.acquire(False):
                return True  # whoever writes now looks at the queue again before it leaves
            try:
                self._send_batch(out)
            finally:
                self._writing.release()
        return self._lost is None

    def _send_batch(self, out: deque[bytes]) -> None:
        batch: list[bytes] = []
        try:
            while len(batch) < _BATCH:
                batch.append(out.popleft())
        except IndexError:
            pass  # that was all
        if not batch:
            return
        hook = self.before_write
        if hook is not None:
            try:
                hook()
            except Exception as error:  # whatever the owner's hook raises: nothing may be sent
                out.extendleft(reversed(batch))
                self._fail(f"stopped before sending: {error}", error)
                return
        try:
            self._stream.sendall(batch[0] if len(batch) == 1 else b"".join(batch))
        except OSError as error:
            self._fail(f"write failed: {error.strerror or error}", error)
        except BaseException as error:  # interrupted in the middle of a frame: the stream is of no use any more
            self._fail("interrupted while writing", error)
            raise
        self._wrote = True

    # --- reading -----------------------------------------------------------------------------------------------

    def _read(self, rest: bytes) -> None:
        deframe = Deframer().receive
        receive = self._envelope.receive
        recv = self._stream.recv
        pop = self._slots.pop
        data = rest
        cause: str = "its reader was ended"
        error: Exception | None = None
        try:
            while True:
                for packet in deframe(data):
                    if not packet:
                        self._later(TICK)
                        continue
                    event = receive(packet)
                    kind = type(event)
                    if kind is Reply or kind is Down or kind is SpawnFailed:
                        slot = pop(event.number, None)  # type: ignore[union-attr]
                        if slot is not None:  # None: it came after its caller had given up
                            slot.event = event
                            slot.parker.unpark()
                    elif type(event) is IoRequest:
                        self._later(self._envelope.io_reply(event))
                    elif type(event) is Other and event is not SPAWNED and self._on_message is not None:
                        self._on_message(event.control, event.message)
                data = recv(_RECEIVE)
                if not data:
                    cause = "closed by the node"
                    break
        except TimeoutError as caught:
            cause, error = "the node is silent: no tick for longer than its ticktime", caught
        except OSError as caught:
            cause, error = f"read failed: {caught.strerror or caught}", caught
        except DecodeError as caught:
            cause, error = f"the node sent what cannot be read: {caught}", caught
        except Exception as caught:  # a defect of ours: without a reader no caller would ever be answered
            cause, error = f"reading failed: {type(caught).__name__}: {caught}", caught
        finally:
            self._fail(cause, error)

    def _later(self, frame: bytes) -> None:
        self._out.append(frame)
        self._housekeeper.unpark()

    def _keep_house(self) -> None:
        while self._lost is None:
            woken = self._housekeeper.park(self._tick_every)
            if not (woken or self._wrote):
                self._out.append(TICK)
            self._write()
            if not woken:
                self._wrote = False

    # --- the end -----------------------------------------------------------------------------------------------

    def _fail(self, cause: str, error: BaseException | None = None, *, told: bool = True) -> None:
        """Close once, for `cause`, and let every caller know at once."""
        if not self._closing.acquire(False):
            return
        self._lost = cause
        self._stream.close()
        unsent = set(map(id, list(self._out)))
        for number in list(self._slots):
            slot = self._slots.pop(number, None)
            if slot is not None:
                slot.unsent = id(slot.frame) in unsent
                slot.parker.unpark()
        self._housekeeper.unpark()
        self._write()  # lets a writer of its own see that it is over
        if told and self._on_close is not None:
            lost = ConnectionLost("connection", cause, node=self.peer)
            lost.__cause__ = error
            on_close = self._on_close
            self._runtime.spawn(lambda: on_close(lost), f"dist-close {self.peer}")
