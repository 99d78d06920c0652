"""The distribution client's Runtime on gevent: a call is one greenlet switch out and one back.

Nothing here goes through gevent's AsyncResult or Event: the hub reads the socket and switches straight to the callers
whose answers have come. What they queue in turn leaves in one send, when the last of them waits again.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
import gevent.socket
from gevent.hub import get_hub
from gevent.lock import BoundedSemaphore
from greenlet import getcurrent

from harness.dist.core import Call
from harness.dist.pump import LARGE, SMALL, Exchange, Pump, Traffic
from harness.dist.runtime import Listener, Lock, Parker, Stream, arrived, listening
from harness.dist.ticks import NativeLock, Ticker

_native_lock: Callable[[], NativeLock] = gevent.monkey.get_original("_thread", "allocate_lock")
_NativeSocket: type[socket.socket] = gevent.monkey.get_original("socket", "socket")
_native_start = gevent.monkey.get_original("_thread", "start_new_thread")


class _Parker:
    """A binary semaphore for one waiting greenlet. Wakes that come late find nobody and do nothing."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: Callable[[], object] | None = None

    def park(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._waiter = getcurrent().switch
            try:
                _pause(timeout, self._resume)
            finally:
                self._waiter = None
        woken = self._set
        self._set = False
        return woken

    def unpark(self) -> None:
        if not self._set:
            self._set = True
            if self._waiter is not None:
                get_hub().loop.run_callback(self._wake)

    def _wake(self) -> None:
        if self._set:  # else the timer came first and took the permit with it
            self._resume()

    def _resume(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter()


def _pause(timeout: float | None, expire: Callable[..., object], *args: Any) -> None:
    """To the hub, until somebody switches back; `expire` is called there after `timeout` seconds."""
    hub = get_hub()
    if timeout is None:
        hub.switch()
        return
    timer = hub.loop.timer(max(timeout, 0.0))
    timer.start(expire, *args, update=True)
    try:
        hub.switch()
    finally:
        timer.stop()
        timer.close()


class _Stream:
    """A non-blocking socket of the standard library: gevent's does more for each read and write than is needed."""

    def __init__(self, sock: socket.socket, timeout: float | None = None) -> None:
        self.socket = _NativeSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.socket.setblocking(False)
        self.hub = get_hub()
        self.readable = self.hub.loop.io(self.socket.fileno(), 1)
        self._writable = self.hub.loop.io(self.socket.fileno(), 2)
        self._timeout = timeout
        self._sending = _native_lock()  # around `_rest` and each send; never held over a switch
        self._rest = memoryview(b"")  # what the kernel has not taken yet
        self._closed = False

    def recv(self, size: int, /) -> bytes:
        while True:
            try:
                return self.socket.recv(size)
            except BlockingIOError:
                gevent.socket.wait(self.readable, self._timeout, TimeoutError("timed out"))

    def settimeout(self, seconds: float | None, /) -> None:
        self._timeout = seconds

    def sendall(self, data: bytes, /) -> None:
        with self._sending:
            self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
            self._push()
        while self._rest:
            gevent.socket.wait(self._writable)
            with self._sending:
                self._push()

    def offer(self, data: bytes, /) -> bool:
        if not self._sending.acquire(False):
            return False
        try:
            taken = not self._rest
            if taken:
                self._rest = memoryview(data)
            self._push()
        finally:
            self._sending.release()
        return taken

    def _push(self) -> None:
        rest = self._rest
        try:
            while rest:
                rest = rest[self.socket.send(rest) :]
        except BlockingIOError:
            pass
        self._rest = rest

    def arrived(self) -> bool:
        return arrived(self.socket)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):  # already gone
            self.socket.shutdown(socket.SHUT_RDWR)
        for watcher in (self.readable, self._writable):
            self.hub.cancel_wait(watcher, OSError("closed"), True)
        self.hub.loop.run_callback(self.socket.close)  # after the watchers: its number may be another's then


class _Pump:
    """See harness.dist.pump.Pump. Over a stream that is no plain socket a greenlet reads; else the hub does."""

    def __init__(self, stream: Stream, traffic: Traffic) -> None:
        self._stream = stream
        self._traffic = traffic
        self._received = traffic.received
        self._answered = traffic.answered
        self._hub = get_hub()
        self._size = SMALL
        self._ready: deque[Call] = deque()  # done, and not woken yet
        self._waking = False  # callers are being woken, or about to be
        self._wanted = False  # the writer is about to be called
        self._idle = False  # the writer waits to be called
        self._writer = gevent.spawn(self._write)
        self.write_aside = self.write
        self.exchange: Exchange | None = None  # greenlets are many

    def start(self, rest: bytes) -> None:
        if isinstance(self._stream, _Stream):
            self._recv = self._stream.socket.recv
            self._hub.loop.run_callback(self._begin, rest)
        else:
            self._stream.settimeout(None)
            gevent.spawn(self._read, rest)

    def stop(self) -> None:
        if isinstance(self._stream, _Stream):
            self._stream.readable.stop()
        self.write()  # lets the writer see that it is over

    def soon(self, act: Callable[[], None]) -> None:
        self._hub.loop.run_callback_threadsafe(act)

    # --- callers -------------------------------------------------------------------------------------------------

    def wait(self, call: Call, timeout: float | None) -> bool:
        if not call.done:
            call.waiter = getcurrent()
            try:
                _pause(timeout, self._expire, call)
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

    # --- reading -------------------------------------------------------------------------------------------------

    def _begin(self, rest: bytes) -> None:
        if rest:
            self._take(rest)
        if not self._traffic.closed:
            assert isinstance(self._stream, _Stream)
            self._stream.readable.start(self._readable)

    def _readable(self) -> None:
        """In the hub, whenever there is something to read."""
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
        self._ready.extend(self._answered)
        self._answered.clear()
        self._wake()

    def _read(self, rest: bytes) -> None:
        """A greenlet's life: read what cannot be read in the hub."""
        try:
            data = rest or self._stream.recv(LARGE)
            while data:
                self._received(data)
                self._ready.extend(self._answered)
                self._answered.clear()
                self._wake_soon()
                data = self._stream.recv(LARGE)
            self._traffic.ended(None)
        except BaseException as error:
            self._traffic.ended(error)
            if not isinstance(error, Exception):
                raise


class _Listener:
    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self._socket = gevent.socket.socket(fileno=sock.detach())

    def accept(self) -> Stream:
        sock, _ = self._socket.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(sock)

    def close(self) -> None:
        self._socket.close()  # gevent wakes an accept()


class GreenletRuntime:
    """See harness.dist.runtime.Runtime."""

    def __init__(self) -> None:
        self.ticker = Ticker(lambda run: _native_start(run, ()), _native_lock)

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        sock = gevent.socket.create_connection((host, port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(sock, timeout)

    def listen(self, host: str, port: int) -> Listener:
        return _Listener(listening(host, port))

    def spawn(self, fn: Callable[[], None], name: str) -> None:
        gevent.spawn(fn)

    def parker(self) -> Parker:
        return _Parker()

    def lock(self) -> Lock:
        lock: Lock = BoundedSemaphore(1)
        return lock

    def pump(self, stream: Stream, traffic: Traffic, name: str) -> Pump:
        return _Pump(stream, traffic)


GREENLETS = GreenletRuntime()
