"""Connected and listening sockets of greenlets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import gevent.monkey
import gevent.socket
from gevent.hub import get_hub

from harness.dist.runtime import Stream
from harness.dist.sockets import arrived
from harness.dist.ticks import NativeLock

native_lock: Callable[[], NativeLock] = gevent.monkey.get_original("_thread", "allocate_lock")
_NativeSocket: type[socket.socket] = gevent.monkey.get_original("socket", "socket")


class GreenletStream:
    """A non-blocking socket of the standard library: gevent's does more for each read and write than is needed."""

    def __init__(self, sock: socket.socket, timeout: float | None = None) -> None:
        self.socket = _NativeSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.socket.setblocking(False)
        self.hub = get_hub()
        self.readable = self.hub.loop.io(self.socket.fileno(), 1)
        self._writable = self.hub.loop.io(self.socket.fileno(), 2)
        self._timeout = timeout
        self._sending = native_lock()  # around `_rest` and each send; never held over a switch
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

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        with self._sending:
            self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
            self._push()
        while self._rest and wait:
            gevent.socket.wait(self._writable)
            with self._sending:
                self._push()
        return not self._rest

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


class GreenletListener:
    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self._socket = gevent.socket.socket(fileno=sock.detach())

    def accept(self) -> Stream:
        sock, _ = self._socket.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return GreenletStream(sock)

    def close(self) -> None:
        self._socket.close()  # gevent wakes an accept()
