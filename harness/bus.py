"""One event bus per run: everything that happens is published once, whoever cares subscribes or waits.

Thread-safe. A scenario's ``until:`` and ``after:`` are answered from here, the terminal and the metrics listen here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

Event = Any  # FaultRecord | Observation | Mark | LoadEvent: the listener matches on the type


class Bus:
    """Publish and wait. Events are kept for the life of the run, so that a late waiter sees what has been."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._listeners: tuple[Callable[[Event], None], ...] = ()
        self._closed = False

    def publish(self, event: Event) -> None:
        """Append the event, wake the waiters, then call the listeners in the publisher's thread."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
            listeners = self._listeners
        for listener in listeners:
            listener(event)

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        with self._changed:
            self._listeners += (listener,)

    def wait_for(self, predicate: Callable[[Event], bool], timeout: float | None = None) -> Event | None:
        """The first event, past or coming, that the predicate accepts; None at the timeout (s) or when closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                while seen < len(self._events):
                    event = self._events[seen]
                    seen += 1
                    if predicate(event):
                        return event
                left = None if deadline is None else deadline - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._changed.wait(left)

    def close(self) -> None:
        """Let every waiter go: the run is ending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
