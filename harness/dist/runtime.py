"""How the socket shell waits and writes: threads here, greenlets elsewhere, one connection code over both.

A runtime is a handful of small operations. `connection.Connection` uses nothing else that can block, so a Locust worker
may hand it greenlets while the orchestrator stays with ordinary threads.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Protocol


class Stream(Protocol):
    """A connected TCP stream.

    `recv` gives b"" at the end of the stream. `close` may be called from anywhere, any number of times, and wakes
    a `recv` or `sendall` that waits elsewhere (they then raise OSError or see the end of the stream).
    """

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later recv/sendall; over it they raise TimeoutError. None: no limit."""
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

    def writer(self, flush: Callable[[], bool]) -> Callable[[], None]:
        """The function a caller calls after it queued a frame; it sees to it that `flush` runs soon after.

        `flush` sends all that is queued, may block, never raises, and tolerates being run twice at once (the
        second returns at once and its frames go with the first). Threads run it in the caller. Greenlets should
        run it in one greenlet of its own, after every caller that can run now has queued its frame: that makes
        one send of many. When `flush` returns False the connection is gone and nothing more will be sent.
        """
        ...


class _SocketStream:
    __slots__ = ("_socket", "recv", "sendall", "settimeout")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.recv: Callable[[int], bytes] = sock.recv
        self.sendall: Callable[[bytes], None] = sock.sendall
        self.settimeout: Callable[[float | None], None] = sock.settimeout

    def close(self) -> None:
        with contextlib.suppress(OSError):  # already gone
            self._socket.shutdown(socket.SHUT_RDWR)  # close() alone leaves another thread's recv() waiting
        self._socket.close()


class _SocketListener:
    def __init__(self, sock: socket.socket) -> None:
        self.port: int = sock.getsockname()[1]
        self._socket = sock

    def accept(self) -> Stream:
        sock, _ = self._socket.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _SocketStream(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes an accept()
        self._socket.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at `host`, of the family its address has."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    return socket.create_server((host, port), family=family, backlog=128)


class _LockParker:
    """A bare lock, held while nobody has unparked: a tenth of the cost of an Event."""

    __slots__ = ("_lock",)

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

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        sock = socket.create_connection((host, port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _SocketStream(sock)

    def listen(self, host: str, port: int) -> Listener:
        return _SocketListener(listening(host, port))

    def spawn(self, fn: Callable[[], None], name: str) -> None:
        threading.Thread(target=fn, name=name, daemon=True).start()

    def parker(self) -> Parker:
        return _LockParker()

    def lock(self) -> Lock:
        return threading.Lock()

    def writer(self, flush: Callable[[], bool]) -> Callable[[], None]:
        def write() -> None:
            flush()

        return write


THREADS: Runtime = ThreadRuntime()
