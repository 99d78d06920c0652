"""Who reads and writes a connection while its callers wait; see harness.dist.pump.Pump.

Callers wait, and one greenlet writes, in the same way whatever the stream is. A plain socket is read by the hub itself,
any other stream (TLS, say) by a greenlet beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import gevent
from gevent.hub import get_hub
from greenlet import getcurrent

from harness.dist.core import Call
from harness.dist.pump import LARGE, SMALL, Exchange, Traffic
from harness.dist.runtime import Stream
from harness.load.greenlets.stream import GreenletStream
from harness.load.greenlets.waiting import pause


class _Pump:
    """All but the reading: whoever reads gives it to `_received`, then wakes the callers."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._hub = get_hub()
        self._ready: deque[Call] = deque()  # done, and not woken yet
        self._waking = False  # callers are being woken, or about to be
        self._wanted = False  # the writer is about to be called
        self._idle = False  # the writer waits to be called
        self._writer = gevent.spawn(self._write)
        self.write_aside = self.write_through = self.write
        self.exchange: Exchange | None = None  # greenlets are many

    def stop(self) -> None:
        self.write()  # lets the writer see that it is over

    def soon(self, act: Callable[[], None]) -> None:
        self._hub.loop.run_callback_threadsafe(act)

    def _received(self, data: bytes) -> None:
        """Take in, and note who is answered by it. Raises anything; then `Traffic.ended` wakes them."""
        self._traffic.received(data)
        self._ready.extend(self._traffic.answered)
        self._traffic.answered.clear()

    # --- callers -------------------------------------------------------------------------------------------------

    def wait(self, call: Call, timeout: float | None) -> bool:
        if not call.done:
            call.waiter = getcurrent()
            try:
                pause(timeout, self._expire, call)
            finally:
                call.waiter = None
        return call.done

    def wake(self, call: Call) -> None:
        self._ready.append(call)
        self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._waking:
            self._waking = True
            self._hub.loop.run_callback(self._wake)

    def _expire(self, call: Call) -> None:
        if call.waiter is not None:
            call.waiter.switch()

    def _wake(self) -> None:
        """In the hub: switch to each caller whose call is done; the writer comes after them."""
        ready = self._ready
        self._waking = True
        try:
            while ready:
                waiter = ready.popleft().waiter
                if waiter is not None:
                    waiter.switch()
        finally:
            self._waking = False
            if ready:  # a caller that is no greenlet of gevent's has ended by raising
                self._wake_soon()
        if self._wanted:
            self._call_writer()

    # --- writing -------------------------------------------------------------------------------------------------

    def write(self) -> None:
        if self._idle and not self._wanted:  # else the writer looks at the queue before it rests
            self._wanted = True
            if not self._waking:
                self._hub.loop.run_callback(self._call_writer)

    def _call_writer(self) -> None:
        if self._wanted:
            self._wanted = self._idle = False
            self._writer.switch()

    def _write(self) -> None:
        while self._traffic.flush():
            self._idle = True
            self._hub.switch()


class HubPump(_Pump):
    """Reads a plain socket in the hub, as soon as there is something: no greenlet is switched to for it."""

    def __init__(self, stream: GreenletStream, traffic: Traffic) -> None:
        super().__init__(traffic)
        self._recv = stream.socket.recv
        self._readable = stream.readable
        self._size = SMALL

    def start(self, rest: bytes) -> None:
        self._hub.loop.run_callback(self._begin, rest)

    def stop(self) -> None:
        self._readable.stop()
        super().stop()

    def _begin(self, rest: bytes) -> None:
        if rest:
            self._take(rest)
        if not self._traffic.closed:
            self._readable.start(self._read)

    def _read(self) -> None:
        try:
            data = self._recv(self._size)
        except BlockingIOError:
            return
        except OSError as error:
            self._traffic.ended(error)
            return
        self._size = SMALL if len(data) < SMALL else LARGE
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._traffic.ended(None)
            return
        try:
            self._received(data)
        except Exception as error:
            self._traffic.ended(error)
        self._wake()


class AsidePump(_Pump):
    """Reads in a greenlet, for a stream of which only its `recv` knows whether there is something."""

    def __init__(self, stream: Stream, traffic: Traffic) -> None:
        super().__init__(traffic)
        self._stream = stream

    def start(self, rest: bytes) -> None:
        self._stream.settimeout(None)
        gevent.spawn(self._read, rest)

    def _read(self, rest: bytes) -> None:
        try:
            data = rest or self._stream.recv(LARGE)
            while data:
                self._received(data)
                self._wake_soon()
                data = self._stream.recv(LARGE)
            self._traffic.ended(None)
        except BaseException as error:
            self._traffic.ended(error)
            if not isinstance(error, Exception):
                raise
