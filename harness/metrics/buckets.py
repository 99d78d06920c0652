"""Prometheus histograms, and log-linear ones brought to their buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from harness.histogram import LogLinear, bounds_of

NS = 1_000_000_000


@dataclass(slots=True)
class Buckets:
    """A Prometheus histogram: counts per bucket (the last one is +Inf), not cumulative; ``total`` in seconds."""

    counts: list[int]
    total: float = 0.0

    def add(self, other: Buckets) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def cumulative(self) -> list[int]:
        seen = 0
        return [seen := seen + n for n in self.counts]


class Fold:
    """Log-linear buckets into one family's Prometheus buckets; where each goes is computed once."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds = [round(bound * NS) for bound in bounds_s]
        self._slots: dict[int, int] = {}

    def __call__(self, histogram: LogLinear) -> Buckets:
        counts = [0] * (len(self._bounds) + 1)
        for bucket, n in histogram.counts.items():
            slot = self._slots.get(bucket)
            if slot is None:
                low, high = bounds_of(bucket)
                slot = self._slots[bucket] = bisect_left(self._bounds, (low + high - 1) / 2)
            counts[slot] += n
        return Buckets(counts, histogram.total / NS)
