"""Sockets of the standard library: as streams, and listening."""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import struct
from _thread import allocate_lock
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.dist.core import Line
from harness.dist.pump import Exchange, ThreadPump, Traffic

if TYPE_CHECKING:
    from harness.dist._speed import Line as CompiledLine


class SocketStream:
    """A blocking socket: the kernel counts the timeout, which saves a poll before each read."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self._socket = sock
        self._owner = os.getpid()
        self._line: CompiledLine | None = None
        self.received: Callable[[int], bytes] = sock.recv  # as `recv`, but over the limit it raises BlockingIOError
        self._send: Callable[[bytes, int], int] = sock.send
        self._sendall: Callable[[bytes], None] = sock.sendall
        self.sending = allocate_lock()
        self.rest = b""  # offered, and not yet taken by the kernel

    def recv(self, size: int, /) -> bytes:
        try:
            return self.received(size)
        except BlockingIOError:
            raise TimeoutError("timed out") from None

    def settimeout(self, seconds: float | None, /) -> None:
        whole, part = divmod(seconds or 0.0, 1.0)
        micro = int(part * 1e6) if whole or not seconds else max(int(part * 1e6), 1)  # none at all is no limit
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(whole), micro))

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        with self.sending:
            if self.rest:
                data, self.rest = self.rest + data, b""
            if wait:
                self._sendall(data)
                return True
            self._push(data)
            return not self.rest

    def offer(self, data: bytes, /) -> bool:
        if not self.sending.acquire(False):
            return False
        try:
            taken = not self.rest
            if self.rest or data:
                self._push(self.rest or data)
        finally:
            self.sending.release()
        return taken

    def _push(self, data: bytes) -> None:
        """Give the kernel what it takes; `rest` is what it does not."""
        self.rest = data
        try:
            sent = self._send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        self.rest = b"" if sent == len(data) else data[sent:]

    def arrived(self) -> bool:
        return arrived(self._socket)

    def exchange(self, traffic: Traffic, pump: ThreadPump) -> Exchange | None:
        """See `Pump`."""
        if Line is None or isinstance(self, _ReplacedStream):
            return None
        self._line = Line(self._socket.fileno(), self, traffic, pump)
        return self._line.exchange

    def close(self) -> None:
        if self._line is not None:
            self._line.fd = -1  # the number may be another's soon
        _close(self._socket, self._owner)


class _ReplacedStream(SocketStream):
    """Where gevent has replaced the standard library's sockets: these heed no timeout of the kernel's and no DONTWAIT.
    Each operation says how long it may take, just before; nobody comes between."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._seconds: float | None = None
        self.received, self._send, self._sendall = self.recv, self._send_some, self._send_all

    def recv(self, size: int, /) -> bytes:
        self._socket.settimeout(self._seconds)
        return self._socket.recv(size)

    def settimeout(self, seconds: float | None, /) -> None:
        self._seconds = seconds

    def arrived(self) -> bool:
        self._socket.settimeout(0.0)
        return super().arrived()

    def _send_some(self, data: bytes, _flags: int) -> int:
        self._socket.settimeout(0.0)
        return self._socket.send(data)

    def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # not its own sendall: that waits several times, and others set the timeout between
            self._socket.settimeout(None)
            view = view[self._socket.send(view) :]


def _stream(sock: socket.socket) -> SocketStream:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketStream(sock) if isinstance(sock, _socket.socket) else _ReplacedStream(sock)


class SocketListener:
    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self._socket = sock
        self._owner = os.getpid()

    def accept(self) -> SocketStream:
        return _stream(self._socket.accept()[0])

    def close(self) -> None:
        _close(self._socket, self._owner)


def _close(sock: socket.socket, owner: int) -> None:
    if os.getpid() == owner:  # what the child of a fork does, its parent would have to bear
        with contextlib.suppress(OSError):  # already gone
            sock.shutdown(socket.SHUT_RDWR)  # close() alone leaves another thread's recv() or accept() waiting
    sock.close()


def dialled(host: str, port: int, timeout: float) -> SocketStream:
    """See `Runtime.dial`."""
    stream = _stream(socket.create_connection((host, port), timeout))
    stream.settimeout(timeout)
    return stream


def arrived(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a loss is something to read, too
        return True
    return True


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at `host`, of the family its address has."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    return socket.create_server((host, port), family=family, backlog=128)
