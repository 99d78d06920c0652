"""How a greenlet waits: one switch to the hub, one back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.hub import get_hub
from greenlet import getcurrent


def pause(timeout: float | None, expire: Callable[..., object], *args: Any) -> None:
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


class GreenletParker:
    """A binary semaphore for one waiting greenlet. Wakes that come late find nobody and do nothing."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: Callable[[], object] | None = None

    def park(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._waiter = getcurrent().switch
            try:
                pause(timeout, self._resume)
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
