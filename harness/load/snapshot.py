"""One worker's figures since the run began: cumulative, small, sent once a second."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.histogram import LogLinear
from harness.history import OUTCOMES

_SCHEDSTAT: Final = Path("/proc/self/schedstat")  # ns on a core, ns runnable and waiting for one

SATURATED_BUSY: Final = 0.9  # share of an interval in which a worker ran or waited to run
SATURATED_LAG: Final = 0.5  # share of an interval by which an event of the loop came late
_INTERVALS: Final = 10  # that are looked back on: an arrival is dropped after about as many seconds


class Tally:
    """Completions of one (operation, target, outcome, reason). Both histograms in ns, of equal count."""

    __slots__ = ("duration", "service")

    def __init__(self) -> None:
        self.duration = LogLinear()  # from the intended start
        self.service = LogLinear()  # from the actual start


class Stats:
    """Counts of one worker; ``snapshot`` is what leaves it. Not for several threads."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str, int, str], Tally] = {}
        self.offered: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[str] = Counter()
        self.late = 0
        self.in_flight = 0

    def complete(self, op: str, target: str, outcome: int, reason: str, duration: int, service: int) -> None:
        tally = self.tallies.get((op, target, outcome, reason))
        if tally is None:
            tally = self.tallies[op, target, outcome, reason] = Tally()
        tally.duration.record(duration)
        tally.service.record(service)

    def snapshot(self, worker: str, now: int, load: Mapping[str, float]) -> dict[str, Any]:
        """JSON-able; the shape is described in docs/load.md."""
        return {
            "worker": worker,
            "time": now,
            "ops": [
                {
                    "op": op,
                    "target": target,
                    "outcome": OUTCOMES[outcome],
                    "reason": reason,
                    "count": tally.duration.count,
                    "duration": tally.duration.to_json(),
                    "service": tally.service.to_json(),
                }
                for (op, target, outcome, reason), tally in self.tallies.items()
            ],
            "offered": {f"{op}|{target}": n for (op, target), n in self.offered.items()},
            "late": self.late,
            "dropped": dict(self.dropped),
            "in_flight": self.in_flight,
            **load,
        }


class Meter:
    """How loaded this process itself is: a target that is slow and a generator that is must not be confused.

    ``cpu_ratio``: share of the time it ran. ``busy_ratio``: ran or waited for a core, so 1.0 means saturated even on a
    machine whose cores are taken by others. ``loop_lag_s``: the latest that anything came in the last interval.
    """

    def __init__(self) -> None:
        self.cpu_ratio = 0.0
        self.busy_ratio = 0.0
        self.loop_lag = 0.0
        self._worst = 0.0
        self._saturated: deque[bool] = deque(maxlen=_INTERVALS)
        self._last = (time.monotonic(), time.process_time(), _waited())

    def lagged(self, seconds: float) -> None:
        """Something that was due came that much later."""
        self._worst = max(self._worst, seconds)

    def measure(self) -> None:
        """Close an interval."""
        now = (time.monotonic(), time.process_time(), _waited())
        wall, cpu, waited = (new - old for new, old in zip(now, self._last, strict=True))
        if wall > 0:
            self.cpu_ratio = cpu / wall
            self.busy_ratio = (cpu + waited) / wall
            self._saturated.append(self.busy_ratio > SATURATED_BUSY or self._worst / wall > SATURATED_LAG)
        self.loop_lag, self._worst = self._worst, 0.0
        self._last = now

    @property
    def saturated(self) -> bool:
        """Whether what is given up now came too late because of this process: it could not keep up for most of the
        last seconds. A machine that is busy for a moment delays a start and voids nothing."""
        return sum(self._saturated) * 2 > len(self._saturated)

    def to_json(self) -> dict[str, float]:
        return {
            "cpu_ratio": round(self.cpu_ratio, 4),
            "busy_ratio": round(self.busy_ratio, 4),
            "loop_lag_s": round(self.loop_lag, 6),
        }


def _waited() -> float:
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0  # a kernel without schedstat: then only the processor time counts
