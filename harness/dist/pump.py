"""Who reads and writes a connection's socket while its callers wait; here for threads.

A thread that waits for its answer reads the socket itself if nobody else does: the answer then costs no change of
threads. The connection's own reader stands in when nobody calls, when several call, and for the last second before a
caller's time is over.
"""

from __future__ import annotations

import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from harness.dist.core import Call

SMALL, LARGE = 1 << 14, 1 << 18
"""Bytes to read at once: the first, for which malloc needs no memory map; after one that was filled, the second."""

LOOK = 1.0  # s after which a read returns to look at the time
_PAUSE = 0.005  # s the reader stays away after callers have read for themselves


Exchange = Callable[[int, Call, float | None], float]


class Traffic(Protocol):
    """What a connection does with its bytes; who does it, and when, is the pump's business."""

    @property
    def calls(self) -> dict[int, Call]:
        """Those not answered; the same object always."""
        ...

    @property
    def closed(self) -> bool: ...

    @property
    def answered(self) -> list[Call]:
        """Done, and not woken yet; the same object always. Whoever reads wakes them and takes them out."""
        ...

    def received(self, data: bytes) -> None:
        """Take in what was read. Never by two at once. Raises anything."""
        ...

    def flush(self, wait: bool = True) -> bool:
        """Send all that is queued, or wait until another has; never raises. False: the connection is gone. Without
        `wait`, the second of two at once returns, its frames go with the first, and what the peer has no room for is
        left to `Pump.write_aside`."""
        ...

    def ended(self, error: BaseException | None) -> None:
        """Nothing more will be read: the stream is at its end, or `error`. Wakes who was answered before."""
        ...


class Pump(Protocol):
    """Moves one connection's bytes, and lets its callers wait.

    A call is over when its `done` is set; whoever sets it passes the call to `wake`, or leaves it in
    `Traffic.answered`.
    """

    def start(self, rest: bytes) -> None:
        """Begin to read; `rest` was read before."""
        ...

    @property
    def write(self) -> Callable[[], object]:
        """See to it that what was queued is sent soon, with all that others queue meanwhile. Does not wait for a peer
        that does not read: whoever calls has a timeout."""
        ...

    @property
    def write_through(self) -> Callable[[], object]:
        """As `write`, for those who wait for no answer: on threads they wait for a peer that does not read, so that
        they do not fill the memory."""
        ...

    @property
    def exchange(self) -> Exchange | None:
        """A shorter way for a caller who has the connection to himself, if there is one: see `_speed.Line`."""
        ...

    def write_aside(self) -> None:
        """As `write`, but leaves all of it to another: for those who read, and for what is left to send."""
        ...

    def soon(self, act: Callable[[], None]) -> None:
        """From any thread of the operating system: do what must not wait where this connection's work is done."""
        ...

    def wait(self, call: Call, timeout: float | None) -> bool:
        """Until the call is done; False after `timeout` seconds."""
        ...

    def wake(self, call: Call) -> None:
        """Never blocks nor switches. Twice is once."""
        ...

    def stop(self) -> None:
        """The connection is gone: whoever reads or writes for it may end."""
        ...


class ThreadPump:
    """See Pump."""

    def __init__(
        self,
        recv: Callable[[int], bytes],
        traffic: Traffic,
        spawn: Callable[[Callable[[], None], str], None],
        name: str,
    ) -> None:
        """`recv` must raise TimeoutError or BlockingIOError after LOOK seconds without data."""
        self._recv = recv
        self._traffic = traffic
        self._calls = traffic.calls
        self._received = traffic.received
        self._answered = traffic.answered
        self._spawn = spawn
        self._name = name
        self.inbox: deque[bytes] = deque()  # read, and not yet taken in
        self._size = (SMALL,)
        self.reading = allocate_lock()
        self._needed = allocate_lock()  # released: the reader is to come
        self._needed.acquire()
        self.led = 0  # how often a caller has read for itself
        self.away = False  # the reader waits to be called
        self._queued = allocate_lock()  # released: the writer is to come
        self._queued.acquire()
        self.write: Callable[[], object] = partial(traffic.flush, False)
        self.write_through: Callable[[], object] = traffic.flush
        self.exchange: Exchange | None = None

    def start(self, rest: bytes) -> None:
        if rest:
            self.inbox.append(rest)
        self._spawn(self._read, f"dist-read {self._name}")
        self._spawn(self._write, f"dist-write {self._name}")

    def stop(self) -> None:
        self.need()
        _release(self._queued)

    def soon(self, act: Callable[[], None]) -> None:
        act()

    def write_aside(self) -> None:
        _release(self._queued)

    def _write(self) -> None:
        while not self._traffic.closed:
            self._queued.acquire()
            self._traffic.flush()

    # --- callers -------------------------------------------------------------------------------------------------

    def wait(self, call: Call, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        leads = False
        try:
            if (timeout is None or timeout > LOOK) and self.reading.acquire(False):
                leads = True
                try:
                    self.led += 1
                    self.lead(call, deadline)
                finally:
                    self.reading.release()
                if self._calls or self.away:  # others wait: their calls were there before they tried to read
                    self.need()
        except BaseException as error:
            if leads:
                self.need()
            else:  # a signal's, perhaps with the lock in hand, and then nobody would ever read again
                self._traffic.ended(error)
            raise
        timeout = None if deadline is None or call.done else deadline - time.monotonic()
        if call.done:
            return True
        lock = allocate_lock()
        lock.acquire()
        call.waiter = lock.release
        return call.done or lock.acquire(True, -1 if timeout is None else max(timeout, 0.0))

    def wake(self, call: Call) -> None:
        if call.waiter is not None:
            try:  # noqa: SIM105  contextlib.suppress costs more than the call
                call.waiter()
            except RuntimeError:
                pass  # woken before

    def lead(self, call: Call, deadline: float | None) -> None:
        """For who holds `reading`: read until the call is done, or only LOOK seconds are left of its time."""
        while not call.done:  # it is when the connection is lost, too
            self._read_once()
            if deadline is not None and not call.done and time.monotonic() > deadline - LOOK:
                break

    def need(self) -> None:
        """Call the reader."""
        _release(self._needed)

    # --- the reader ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        traffic = self._traffic
        while not traffic.closed:
            led = self.led
            if self.reading.acquire(False):
                self.away = False
                try:
                    while self._read_once() or self._calls:
                        pass
                finally:
                    self.reading.release()
                # Callers now read for themselves; when they stay away, back to what comes unasked
                while not self._needed.acquire(True, _PAUSE) and led != self.led:
                    led = self.led
            elif self.away:
                self._needed.acquire()
            else:
                self.away = True  # and try once more: who leaves looks at this after he has let go

    def _read_once(self) -> bool:
        """Read and take in. True when that answered nobody.

        `extend` is one step for Python: a signal's exception comes before the read or leaves its data in the inbox.
        """
        inbox = self.inbox
        try:
            if not inbox:
                inbox.extend(map(self._recv, self._size))
            data = inbox.popleft()
        except (TimeoutError, BlockingIOError):
            return True
        except OSError as error:
            self._traffic.ended(error)
            return False
        if not data:
            self._traffic.ended(None)
            return False
        self._size = (SMALL,) if len(data) < SMALL else (LARGE,)
        answered = self._answered
        try:
            self._received(data)
            nobody = not answered
            while answered:
                self.wake(answered[-1])  # and only then out of the list: a signal may come between
                answered.pop()
        except BaseException as error:
            self._traffic.ended(error)  # if it was a signal's: half taken in is worse than lost
            if not isinstance(error, Exception):
                raise
            return False
        return nobody


def _release(lock: LockType) -> None:
    try:  # noqa: SIM105  contextlib.suppress costs more than the call
        lock.release()
    except RuntimeError:
        pass  # released before
