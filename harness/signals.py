"""SIGINT and SIGTERM as one exception in the main thread, and never a second one on the way out."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from harness.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, the first signal raises ``Interrupted``; ``hold`` stops that for good: the way out has begun.

    A signal that comes after that is only noted in ``late`` (its number; 0: none came), so that healing, writing and
    removing are walked to their end; whoever has more to do afterwards looks there. Left interrupted, the process is
    about to exit and passes over any other. Outside the main thread (an embedded run) signals are left alone.
    """

    def __init__(self) -> None:
        self.late = 0
        self._held = False
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._arrived) for number in _SIGNALS}
        return self

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._held:
            self.late = self.late or number
            return
        self._held = self._interrupted = True
        raise Interrupted(number)

    def hold(self) -> None:
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._interrupted else handler)
