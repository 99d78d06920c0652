"""Ticks, from one thread of the operating system per process for all its connections.

A connection on which nothing was written for a while must write a tick, or its peer takes it for dead. Neither a
gevent loop that computes nor a long write of somebody else may keep it from that, so it is done beside them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class NativeLock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...

    def __enter__(self) -> bool: ...

    def __exit__(self, kind: Any, value: Any, trace: Any, /) -> None: ...


@dataclass(slots=True, eq=False)
class _Entry:
    due: float
    every: float
    tick: Callable[[], bool]


class Ticker:
    """`start` runs a function in a thread of the operating system, `lock` makes a lock between such threads: given,
    since gevent may have replaced the usual ones."""

    def __init__(self, start: Callable[[Callable[[], None]], object], lock: Callable[[], NativeLock]) -> None:
        self.lock = lock
        self._start = start
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """As new: in the child of a fork there is no thread, and no connection of its own."""
        lock = self.lock
        self._guard = lock()  # never held while anything waits
        self._entries: list[_Entry] = []
        self._running = False
        self._wake = lock()
        self._wake.acquire()

    def add(self, every: float, tick: Callable[[], bool]) -> None:
        """Call `tick` every so many seconds until it says False. It must neither block nor raise."""
        with self._guard:
            self._entries.append(_Entry(time.monotonic() + every, every, tick))
            running, self._running = self._running, True
        if running:
            with contextlib.suppress(RuntimeError):  # woken already
                self._wake.release()
        else:
            self._start(self._run)

    def _run(self) -> None:
        while (pause := self._round(time.monotonic())) is not None:
            self._wake.acquire(True, pause)

    def _round(self, now: float) -> float | None:
        """Everything due; seconds until the next. None: nothing is left, the thread ends."""
        for entry in list(self._entries):
            if entry.due <= now:
                entry.due = now + entry.every  # not more often after a standstill
                if not entry.tick():
                    self._entries.remove(entry)
        with self._guard:
            if not self._entries:
                self._running = False
                return None
            return max(min(entry.due for entry in self._entries) - time.monotonic(), 0.0)
