"""The figures of the moment, for the live display: differences between two readings of a run's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.metrics import names
from harness.metrics.figures import Point


class Source(Protocol):
    """What the display reads: a run's metrics."""

    def points(self) -> Iterator[Point]: ...


@dataclass(frozen=True, slots=True)
class Current:
    """Rates per second and times in seconds over the last interval; counts since the run began."""

    rates: Mapping[str, float] = field(default_factory=dict)  # outcome -> per second
    outcomes: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (outcome, reason) -> operations
    p50: float | None = None
    p99: float | None = None
    lag_p50: float | None = None
    lag_p99: float | None = None
    backlog: Mapping[str, int] = field(default_factory=dict)  # replica -> probe writes, only those behind
    nodes: Mapping[str, bool] = field(default_factory=dict)
    in_flight: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Reading:
    time: float
    counts: dict[tuple[str, str], float] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    pending: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, bool] = field(default_factory=dict)
    in_flight: int = 0
    dropped: int = 0


class Reader:
    """Call ``read`` with the time (s) whenever the display is drawn; it keeps the reading before."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: _Reading | None = None

    def read(self, now: float) -> Current:
        reading = _reading(self._source.points(), now)
        last, self._last = self._last, reading
        if last is None:
            last = _Reading(now - 1)
        span = max(reading.time - last.time, 1e-3)
        outcomes: dict[str, int] = {}
        rates: dict[str, float] = {}
        for (outcome, reason), n in reading.counts.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + int(n)
            rates[outcome] = rates.get(outcome, 0.0) + (n - last.counts.get((outcome, reason), 0.0)) / span
        durations = _since(last.durations, reading.durations)
        lag = _since(last.lag, reading.lag)
        return Current(
            rates=rates,
            outcomes=outcomes,
            reasons={key: int(n) for key, n in reading.counts.items() if key[1]},
            p50=quantile(names.DURATION_BUCKETS, durations, 0.5),
            p99=quantile(names.DURATION_BUCKETS, durations, 0.99),
            lag_p50=quantile(names.LAG_BUCKETS, lag, 0.5),
            lag_p99=quantile(names.LAG_BUCKETS, lag, 0.99),
            backlog={replica: n for replica, n in reading.pending.items() if n},
            nodes=reading.nodes,
            in_flight=reading.in_flight,
            dropped=reading.dropped,
        )


def _reading(points: Iterator[Point], now: float) -> _Reading:
    made = _Reading(now)
    for point in points:
        family, labels, value = point.family, point.labels, point.values[0] if point.values else 0.0
        if family is names.OPERATIONS:
            key = (labels[2], labels[3])
            made.counts[key] = made.counts.get(key, 0.0) + value
        elif family is names.OPERATION_DURATION and labels[2] == "ok":
            made.durations = _added(made.durations, point.values[:-1])
        elif family is names.LAG:
            made.lag = _added(made.lag, point.values[:-1])
        elif family is names.PENDING:
            made.pending[labels[1]] = made.pending.get(labels[1], 0) + int(value)
        elif family is names.NODE_UP:
            made.nodes[labels[0]] = value > 0
        elif family is names.IN_FLIGHT:
            made.in_flight = int(value)
        elif family is names.DROPPED:
            made.dropped += int(value)
    return made


def _added(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)] if a else list(b)


def _since(before: Sequence[float], now: Sequence[float]) -> list[float]:
    return [b - a for a, b in zip(before, now, strict=True)] if len(before) == len(now) else list(now)


def quantile(bounds: Sequence[float], cumulative: Sequence[float], q: float) -> float | None:
    """From cumulative buckets (the last one is +Inf), interpolated within the bucket; None when they are empty."""
    if not cumulative or cumulative[-1] <= 0:
        return None
    rank = q * cumulative[-1]
    below = low = 0.0
    for bound, upto in zip(bounds, cumulative, strict=False):
        if upto >= rank:
            return low + (bound - low) * (rank - below) / (upto - below) if upto > below else bound
        below, low = upto, bound
    return bounds[-1]
