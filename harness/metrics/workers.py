"""What the load workers count. Each sends cumulative snapshots: its newest replaces its previous one, and the workers
are added up when somebody reads. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.histogram import LogLinear
from harness.metrics import names
from harness.metrics.buckets import Buckets, Fold
from harness.metrics.names import Labels

Series = tuple[str, Labels]  # family name, label values


@dataclass(slots=True)
class Snapshot:
    """One worker's newest one, folded into Prometheus' buckets; or several added up."""

    counters: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)
    histograms: dict[Series, Buckets] = field(default_factory=dict)
    in_flight: float = 0.0

    def count(self, series: Series, n: float) -> None:
        self.counters[series] = self.counters.get(series, 0.0) + n

    def observe(self, series: Series, buckets: Buckets) -> None:
        self.histograms.setdefault(series, Buckets([0] * len(buckets.counts))).add(buckets)

    def add(self, other: Snapshot) -> None:
        for series, n in other.counters.items():
            self.count(series, n)
        for series, buckets in other.histograms.items():
            self.observe(series, buckets)
        self.gauges |= other.gauges  # each of a worker of its own
        self.in_flight += other.in_flight


class Workers:
    """All workers of a run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Snapshot] = {}
        self._peaks: dict[str, dict[str, float]] = {}
        families = (names.OPERATION_DURATION, names.OPERATION_SERVICE_TIME)
        self._folds = {family.name: Fold(family.buckets) for family in families}

    def ingest(self, told: Mapping[str, Any]) -> None:
        """Replace a worker's snapshot. Raises KeyError, TypeError, ValueError when it is not one."""
        snapshot = Snapshot(in_flight=float(told.get("in_flight", 0)))
        for op in told["ops"]:
            name, target, outcome = str(op["op"]), str(op["target"]), str(op["outcome"])
            snapshot.count(
                (names.OPERATIONS.name, (name, target, outcome, str(op.get("reason", "")))), float(op["count"])
            )
            for family, key in ((names.OPERATION_DURATION, "duration"), (names.OPERATION_SERVICE_TIME, "service")):
                folded = self._folds[family.name](LogLinear.from_json(op[key]))
                snapshot.observe((family.name, (name, target, outcome)), folded)
        for key, n in told.get("offered", {}).items():
            name, _, target = str(key).partition("|")
            snapshot.count((names.OFFERED.name, (name, target)), float(n))
        for reason, n in told.get("dropped", {}).items():
            snapshot.count((names.DROPPED.name, (str(reason),)), float(n))
        snapshot.count((names.LATE.name, ()), float(told.get("late", 0)))
        who = str(told["worker"])
        cpu, lag = float(told.get("cpu_ratio", 0.0)), float(told.get("loop_lag_s", 0.0))
        snapshot.gauges = {(names.WORKER_CPU.name, (who,)): cpu, (names.WORKER_LAG.name, (who,)): lag}
        with self._lock:
            self._newest[who] = snapshot
            peak = self._peaks.setdefault(who, {"cpu_ratio_max": 0.0, "loop_lag_s_max": 0.0})
            peak["cpu_ratio_max"] = max(peak["cpu_ratio_max"], cpu)
            peak["loop_lag_s_max"] = max(peak["loop_lag_s_max"], lag)

    def together(self) -> Snapshot:
        """All workers' newest added up."""
        with self._lock:
            newest = list(self._newest.values())
        total = Snapshot()
        for snapshot in newest:
            total.add(snapshot)
        return total

    def summary(self) -> dict[str, Any]:
        """What the load came to: ``offered``, ``completed``, ``late``, ``dropped`` by reason, ``workers``' peaks."""
        counters = self.together().counters

        def total(family: names.Family) -> int:
            return int(sum(n for (name, _), n in counters.items() if name == family.name))

        with self._lock:
            peaks = {who: dict(peak) for who, peak in self._peaks.items()}
        return {
            "offered": total(names.OFFERED),
            "completed": total(names.OPERATIONS),
            "late": total(names.LATE),
            "dropped": {labels[0]: int(n) for (name, labels), n in counters.items() if name == names.DROPPED.name},
            "workers": peaks,
        }
