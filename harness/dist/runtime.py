"""How the socket shell waits, reads and writes: threads here, greenlets elsewhere, one connection code over both.

`connection.Connection` uses nothing else that can block, so a Locust worker may hand it greenlets while the
orchestrator stays with ordinary threads.
"""

from __future__ import annotations

import _socket
import contextlib
import socket
import struct
import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from harness.dist.core import Line
from harness.dist.pump import LOOK, Exchange, Pump, ThreadPump, Traffic
from harness.dist.ticks import Ticker

if TYPE_CHECKING:
    from harness.dist._speed import Line as CompiledLine


class Stream(Protocol):
    """A connected TCP stream.

    `recv` gives b"" at the end of the stream. `close` may be called from anywhere, any number of times, and wakes
    a `recv` or `sendall` that waits elsewhere (they then raise OSError or see the end of the stream).
    """

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        """Send `data` after what is left of earlier; waits as long as that takes.

        Without `wait` only what the kernel takes at once: False if something is left, which goes before whatever is
        sent next, be it nothing.
        """
        ...

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later recv; over it, it raises TimeoutError, and may be called again. None: no limit."""
        ...

    def offer(self, data: bytes, /) -> bool:
        """Send a few bytes without waiting, from any thread of the operating system. Raises OSError.

        True: the kernel has taken them, or they go before whatever is sent next. False: others are on their way
        (what an earlier `sendall` gave is offered to the kernel once more).
        """
        ...

    def arrived(self) -> bool:
        """Whether something (the end, too) has come that was not read. From any thread of the operating system."""
        ...

    def close(self) -> None: ...


class Listener(Protocol):
    port: int

    def accept(self) -> Stream:
        """The next connection (TCP_NODELAY, no timeout). Raises OSError once closed."""
        ...

    def close(self) -> None:
        """From anywhere, any number of times; wakes an `accept` that waits."""
        ...


class Parker(Protocol):
    """One permit: `unpark` gives it, `park` waits for it and takes it. Given before the park, it is kept."""

    def park(self, timeout: float | None = None) -> bool:
        """True once unparked, False after `timeout` seconds. Only one waits; afterwards it may park again."""
        ...

    def unpark(self) -> None:
        """Let the parked one go on. From any thread or greenlet; twice is once; never blocks nor switches."""
        ...


class Lock(Protocol):
    def acquire(self, blocking: bool = True) -> bool: ...

    def release(self) -> None: ...


class Runtime(Protocol):
    ticker: Ticker
    """The one of this process."""

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        """A connected stream with TCP_NODELAY and the timeout `timeout`, or OSError."""
        ...

    def listen(self, host: str, port: int) -> Listener:
        """Listen at an address of this machine, IPv4 or IPv6; port 0: any free one. Raises OSError."""
        ...

    def spawn(self, fn: Callable[[], None], name: str) -> None:
        """Run `fn` beside the caller; it must not keep the process alive."""
        ...

    def parker(self) -> Parker: ...

    def lock(self) -> Lock: ...

    def pump(self, stream: Stream, traffic: Traffic, name: str) -> Pump: ...


class SocketStream:
    """A blocking socket: the kernel counts the timeout, which saves a poll before each read."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self._socket = sock
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
        with contextlib.suppress(OSError):  # already gone
            self._socket.shutdown(socket.SHUT_RDWR)  # close() alone leaves another thread's recv() waiting
        self._socket.close()


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
        self._socket.settimeout(None)
        self._socket.sendall(data)


def _stream(sock: socket.socket) -> SocketStream:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketStream(sock) if isinstance(sock, _socket.socket) else _ReplacedStream(sock)


class _SocketListener:
    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self._socket = sock

    def accept(self) -> Stream:
        return _stream(self._socket.accept()[0])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes an accept()
        self._socket.close()


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


class _LockParker:
    """A bare lock, held while nobody has unparked: a tenth of the cost of an Event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def park(self, timeout: float | None = None) -> bool:
        return self._lock.acquire(True, -1 if timeout is None else max(timeout, 0.0))

    def unpark(self) -> None:
        try:  # noqa: SIM105  contextlib.suppress costs more than all the rest here
            self._lock.release()
        except RuntimeError:
            pass  # unparked before


class ThreadRuntime:
    """The standard library's sockets and threads."""

    def __init__(self) -> None:
        self.ticker = Ticker(lambda run: start_new_thread(run, ()), allocate_lock)

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        stream = _stream(socket.create_connection((host, port), timeout))
        stream.settimeout(timeout)
        return stream

    def listen(self, host: str, port: int) -> Listener:
        return _SocketListener(listening(host, port))

    def spawn(self, fn: Callable[[], None], name: str) -> None:
        threading.Thread(target=fn, name=name, daemon=True).start()

    def parker(self) -> Parker:
        return _LockParker()

    def lock(self) -> Lock:
        return threading.Lock()

    def pump(self, stream: Stream, traffic: Traffic, name: str) -> Pump:
        stream.settimeout(LOOK)
        recv = stream.received if isinstance(stream, SocketStream) else stream.recv
        pump = ThreadPump(recv, traffic, self.spawn, name)
        if isinstance(stream, SocketStream):
            pump.exchange = stream.exchange(traffic, pump)
        return pump


THREADS: Runtime = ThreadRuntime()
