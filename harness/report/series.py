"""Curves over the time of a run, from its history: what the charts of report.html draw."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.checkers import Facts
from harness.history import FAIL, OK, UNKNOWN, LagSamples

BUCKETS: Final = 240
Series = list[float | None]


class Clock:
    """Equal buckets from full load to its end; ``centres`` in seconds."""

    def __init__(self, facts: Facts) -> None:
        self.origin = facts.timeline.origin
        self.span_s = max((facts.timeline.load_end - self.origin) / 1e9, 0.1)
        self.count = int(min(BUCKETS, max(20, np.ceil(self.span_s * 4))))
        self.width_s = self.span_s / self.count

    @property
    def centres(self) -> list[float]:
        return [round((i + 0.5) * self.width_s, 3) for i in range(self.count)]

    def bucket(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bucket of each time; -1 for what lies outside."""
        at = np.floor((times - self.origin) / 1e9 / self.width_s).astype(np.int64)
        at[(at < 0) | (at >= self.count)] = -1
        return at


def operations(facts: Facts, clock: Clock) -> list[dict[str, Any]]:
    """Rates per outcome and latency of what ended ok, for all operations together and for each."""
    ops = facts.operations
    everything = np.ones(len(ops), dtype=np.bool_)
    told = [{"name": "all operations", **_curves(facts, clock, everything)}]
    if len(ops.operations) > 1:
        for at, operation in enumerate(ops.operations):
            mine = ops.op == at
            if mine.any():
                told.append({"name": operation.name, **_curves(facts, clock, mine)})
    return told


def _curves(facts: Facts, clock: Clock, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    ops = facts.operations
    due = clock.bucket(ops.intended[mask])
    outcome = ops.outcome[mask]
    rates = {
        name: _rate(clock, due[outcome == code]) for name, code in (("ok", OK), ("fail", FAIL), ("unknown", UNKNOWN))
    }
    good = outcome == OK
    took = (ops.end[mask][good] - ops.intended[mask][good]) / 1e9
    p50, p99, longest = _percentiles(clock, due[good], took, (50, 99, 100))
    return {**rates, "p50": p50, "p99": p99, "longest": longest}


def _rate(clock: Clock, buckets: npt.NDArray[np.int64]) -> Series:
    counts = np.bincount(buckets[buckets >= 0], minlength=clock.count)
    return [round(float(n / clock.width_s), 2) for n in counts]


def _percentiles(
    clock: Clock, buckets: npt.NDArray[np.int64], values: npt.NDArray[np.float64], wanted: tuple[int, ...]
) -> list[Series]:
    """Per bucket: these percentiles of the values in it; None where there are none."""
    inside = buckets >= 0
    buckets, values = buckets[inside], values[inside]
    order = np.lexsort((values, buckets))
    buckets, values = buckets[order], values[order]
    edges = np.searchsorted(buckets, np.arange(clock.count + 1))
    sizes = np.diff(edges)
    curves: list[Series] = []
    for percent in wanted:
        at = edges[:-1] + np.minimum((sizes * percent) // 100, np.maximum(sizes - 1, 0))
        picked = (float(f"{values[i]:.4g}") if size else None for i, size in zip(at, sizes, strict=True))
        curves.append(list(picked))
    return curves


def lag(facts: Facts, clock: Clock) -> list[dict[str, Any]]:
    """Replication lag per table and context: median and p99 over all pairs of nodes."""
    rows, words = facts.history.lag.rows, facts.history.lag.words
    told = []
    for table, context in sorted({(int(r["table"]), int(r["context"])) for r in np.unique(rows[["table", "context"]])}):
        own = rows[(rows["table"] == table) & (rows["context"] == context)]
        p50, p99 = _percentiles(clock, clock.bucket(own["time"]), own["lag"] / 1e9, (50, 99))
        told.append({"name": f"{words[table]} {words[context]}", "p50": p50, "p99": p99})
    return told


def backlog(facts: Facts, clock: Clock) -> list[dict[str, Any]]:
    """Probe writes acknowledged and not yet readable, per replica: the most over its sources and contexts.

    A sequence readable on a replica implies all before it. What counts as written is what any replica has seen, so
    the backlog of writes that reached no replica at all shows only from when they do.
    """
    samples = facts.history.lag
    if not len(samples.rows):
        return []
    worst: dict[str, npt.NDArray[np.int64]] = {}
    columns = ["table", "source", "context"]
    for stream in np.unique(samples.rows[columns]):
        own = samples.rows[np.logical_and.reduce([samples.rows[c] == stream[c] for c in columns])]
        written = _reached(clock, own["time"] - own["lag"], own["sequence"])
        for replica in np.unique(own["replica"]):
            seen = own[own["replica"] == replica]
            behind = np.maximum(written - _reached(clock, seen["time"], seen["sequence"]), 0)
            name = _word(samples, int(replica))
            worst[name] = np.maximum(worst.get(name, behind), behind)
    return [{"name": name, "pending": [int(n) for n in pending]} for name, pending in sorted(worst.items())]


def _reached(clock: Clock, times: npt.NDArray[np.int64], sequences: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The highest sequence up to the end of each bucket; before the first, the first less one."""
    order = np.argsort(times, kind="stable")
    highest = np.maximum.accumulate(sequences[order].astype(np.int64))
    ends = clock.origin + (np.arange(1, clock.count + 1) * clock.width_s * 1e9).astype(np.int64)
    at = np.searchsorted(times[order], ends, side="right") - 1
    first = int(sequences.min()) - 1
    reached: npt.NDArray[np.int64] = np.where(at >= 0, highest[np.maximum(at, 0)], first)
    return reached


def _word(samples: LagSamples, number: int) -> str:
    return samples.words[number] if number < len(samples.words) else str(number)
