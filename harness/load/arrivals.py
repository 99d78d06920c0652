"""When operations are due, decided before and independently of how the target behaves (open loop). Pure.

Arrivals are a Poisson process: exponential gaps, not constant ones. Many independent clients look like that; it does
not fall into step with ticks, dumps and collections that are periodic themselves; and the sum of the workers' streams
is again exactly such a stream, so workers need not be coordinated.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


class Schedule:
    """Due times (ns) of a Poisson process whose rate rises linearly from 0 to ``rate`` (1/s) within ``ramp`` seconds.

    ``uniform`` gives independent numbers in [0, 1). The unit-rate process is mapped through the inverse of the
    cumulative rate, which is rate t^2 / (2 ramp) while it rises and rate (t - ramp/2) after.
    """

    def __init__(self, rate: float, begin: int, uniform: Callable[[], float], ramp: float = 0.0) -> None:
        self._rate = rate
        self._begin = begin
        self._uniform = uniform
        self._ramp = ramp
        self._expected = 0.0  # arrivals expected up to the last one handed out

    def next(self) -> int:
        self._expected -= math.log(1.0 - self._uniform())
        in_ramp = self._rate * self._ramp / 2
        if self._expected < in_ramp:
            seconds = math.sqrt(2 * self._ramp * self._expected / self._rate)
        else:
            seconds = self._expected / self._rate + self._ramp / 2
        return self._begin + int(seconds * 1e9)


@dataclass(slots=True)
class Arrival:
    """One operation that is due: ``intended`` ns, ``operation`` as the picker gave it."""

    intended: int
    operation: int


@dataclass(slots=True)
class Lane:
    """The queue of one node: what has become due and no user has begun yet, oldest first."""

    schedule: Schedule
    pick: Callable[[], int]
    limit: int  # ns an arrival may wait before it is dropped
    waiting: deque[Arrival] = field(default_factory=deque)
    next_due: int = -1

    def __post_init__(self) -> None:
        self.next_due = self.schedule.next()

    def become_due(self, now: int) -> list[Arrival]:
        """Move everything due at ``now`` into the queue; returns what was moved."""
        moved: list[Arrival] = []
        while self.next_due <= now:
            moved.append(Arrival(self.next_due, self.pick()))
            self.next_due = self.schedule.next()
        self.waiting.extend(moved)
        return moved

    def expire(self, now: int) -> list[Arrival]:
        """Take out what has waited longer than the limit."""
        dropped: list[Arrival] = []
        while self.waiting and now - self.waiting[0].intended > self.limit:
            dropped.append(self.waiting.popleft())
        return dropped
