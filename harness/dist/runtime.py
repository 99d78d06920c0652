"""How the socket shell waits, reads and writes: threads here, greenlets elsewhere, one connection code over both.

`connection.Connection` uses nothing else that can block, so a Locust worker may hand it greenlets while the
orchestrator stays with ordinary threads.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import Protocol

from harness.dist.pump import LOOK, Pump, ThreadPump, Traffic
from harness.dist.sockets import SocketListener, SocketStream, dialled, listening
from harness.dist.ticks import Ticker


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
        return dialled(host, port, timeout)

    def listen(self, host: str, port: int) -> Listener:
        return SocketListener(listening(host, port))

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
