"""The figures of one run: written by everything that measures, read by the exposition and by the sampler.

Load workers send cumulative snapshots; a worker's newest replaces its previous one and the workers are added up when
somebody reads. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import harness
from harness.histogram import LogLinear, bounds_of
from harness.history import FaultRecord
from harness.metrics import names
from harness.metrics.names import Family
from harness.scenario.plan import Plan
from harness.scenario.schema import ACTIONS

Labels = tuple[str, ...]
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


@dataclass(frozen=True, slots=True)
class Point:
    """One metric now. ``values``: one number, or cumulative buckets and then the sum, or one 0/1 for each state."""

    family: Family
    labels: Labels
    values: tuple[float, ...]


class _Fold:
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


@dataclass(slots=True)
class _Worker:
    """One worker's newest snapshot, folded."""

    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    gauges: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: dict[tuple[str, Labels], Buckets] = field(default_factory=dict)
    in_flight: float = 0.0


class Figures:
    """All figures of one run. ``otp`` is what ``harness_run`` tells, such as ``27`` or ``25,27``.

    Not known yet, it stays empty and ``harness_run`` is missing until ``set_otp``: a series with another label would
    be another run to Prometheus.
    """

    def __init__(self, plan: Plan, run_id: str, otp: str = "", clock: Callable[[], float] = time.time) -> None:
        self.run_labels = {"run_id": run_id, "scenario": plan.name}
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._observed: dict[Labels, Buckets] = {}  # (family name, *labels)
        self._lag: dict[Labels, LogLinear] = {}
        self._workers: dict[str, _Worker] = {}
        self._peaks: dict[str, dict[str, float]] = {}
        self._injecting: dict[str, int] = {}
        self._healing: dict[str, int] = {}
        self._phase = names.PHASES[0]
        self._verdict = names.VERDICTS[0]
        self._folds = {f.name: _Fold(f.buckets) for f in names.FAMILIES if f.kind == "histogram"}
        self._values[names.FAULT_ACTIVE.name] = {
            (step.id, step.kind, node): 0.0
            for step in plan.timeline
            if step.action.lasting
            for node in step.action.nodes_named()
        }
        self._set(names.RUN_START, clock())
        if otp:
            self.set_otp(otp)

    # --- written by the load ---

    def ingest(self, snapshot: Mapping[str, Any]) -> None:
        """Replace a worker's cumulative snapshot. Raises KeyError, TypeError, ValueError when it is not one."""
        worker = _Worker(in_flight=float(snapshot.get("in_flight", 0)))
        for op in snapshot["ops"]:
            name, target, outcome = str(op["op"]), str(op["target"]), str(op["outcome"])
            counted = (names.OPERATIONS.name, (name, target, outcome, str(op.get("reason", ""))))
            worker.counters[counted] = worker.counters.get(counted, 0.0) + float(op["count"])
            for family, key in (
                (names.OPERATION_DURATION, "duration"),
                (names.OPERATION_SERVICE_TIME, "service"),
            ):
                folded = self._folds[family.name](LogLinear.from_json(op[key]))
                series = (family.name, (name, target, outcome))
                if series in worker.histograms:  # another reason of the same outcome
                    worker.histograms[series].add(folded)
                else:
                    worker.histograms[series] = folded
        for key, n in snapshot.get("offered", {}).items():
            name, _, target = str(key).partition("|")
            worker.counters[names.OFFERED.name, (name, target)] = float(n)
        for reason, n in snapshot.get("dropped", {}).items():
            worker.counters[names.DROPPED.name, (str(reason),)] = float(n)
        worker.counters[names.LATE.name, ()] = float(snapshot.get("late", 0))
        who = str(snapshot["worker"])
        worker.gauges[names.WORKER_CPU.name, (who,)] = float(snapshot.get("cpu_ratio", 0.0))
        worker.gauges[names.WORKER_LAG.name, (who,)] = float(snapshot.get("loop_lag_s", 0.0))
        with self._lock:
            self._workers[who] = worker
            peak = self._peaks.setdefault(who, {"cpu_ratio_max": 0.0, "loop_lag_s_max": 0.0})
            peak["cpu_ratio_max"] = max(peak["cpu_ratio_max"], worker.gauges[names.WORKER_CPU.name, (who,)])
            peak["loop_lag_s_max"] = max(peak["loop_lag_s_max"], worker.gauges[names.WORKER_LAG.name, (who,)])

    # --- written by the probes ---

    def observe_lag(self, table: str, source: str, replica: str, context: str, lag_ns: int) -> None:
        """One probe write seen on a replica; negative lag counts as visible before the ack and is observed as 0."""
        labels = (table, source, replica, context)
        with self._lock:
            self._lag.setdefault(labels, LogLinear()).record(lag_ns)
            early = self._values.setdefault(names.EARLY.name, {})
            early[labels] = early.get(labels, 0.0) + (lag_ns < 0)

    def lag(self) -> LogLinear:
        """All lag observed so far (ns), over every table, source, replica and context."""
        merged = LogLinear()
        with self._lock:
            for histogram in self._lag.values():
                merged.merge(histogram)
        return merged

    def set_pending(self, table: str, replica: str, n: int) -> None:
        self._set(names.PENDING, float(n), table, replica)

    def node_up(self, node: str, up: bool) -> None:
        self._set(names.NODE_UP, float(up), node)

    def link_up(self, node: str, peer: str, up: bool) -> None:
        self._set(names.LINK_UP, float(up), node, peer)

    def erlang(self, node: str, figures: Mapping[str, float | Mapping[str, float]]) -> None:
        """Figures of one node: family name -> value, or -> {label value: value}. They replace its previous ones.

        Raises KeyError for a name that is not in ``names.ERLANG``.
        """
        fresh: dict[str, dict[Labels, float]] = {name: {} for name in names.ERLANG_BY_NAME}
        for name, value in figures.items():
            if name not in fresh:
                raise KeyError(name)
            if isinstance(value, Mapping):
                fresh[name] = {(node, str(label)): float(n) for label, n in value.items()}
            else:
                fresh[name] = {(node,): float(value)}
        with self._lock:
            for name, series in fresh.items():
                others = {k: v for k, v in self._values.get(name, {}).items() if k[0] != node}
                self._values[name] = others | series

    def observe_recovery(self, kind: str, stage: str, seconds: float) -> None:
        """A fault of this kind was detected by a node, or healed, or its traces were gone."""
        self._observe(names.RECOVERY_DURATION, seconds, kind, stage)

    # --- written by the run ---

    def fault(self, record: FaultRecord) -> None:
        """Follow one fault through its stages."""
        kind, step, stage = record.kind, record.step, record.stage
        match stage:
            case "injecting":
                self._injecting[step] = record.time
            case "bit" | "not_bitten" | "skipped" | "failed":
                with self._lock:
                    counts = self._values.setdefault(names.FAULTS_INJECTED.name, {})
                    counts[kind, stage] = counts.get((kind, stage), 0.0) + 1
                if stage == "bit":
                    began = self._injecting.pop(step, record.time)
                    self._observe(names.INJECTION_DURATION, (record.time - began) / NS, kind)
            case "healing":
                self._healing[step] = record.time
            case "healed":
                began = self._healing.pop(step, record.time)
                self.observe_recovery(kind, "heal", (record.time - began) / NS)
        action = ACTIONS.get(kind)
        if action is None or action.lasting:
            self._fault_active(record, {"bit": 1.0, "healed": 0.0}.get(stage))

    def _fault_active(self, record: FaultRecord, value: float | None) -> None:
        if value is not None:
            for target in record.targets:
                self._set(names.FAULT_ACTIVE, value, record.step, record.kind, target)

    def set_otp(self, otp: str) -> None:
        """The nodes have told their release. Once."""
        self._set(names.RUN_INFO, 1.0, *self.run_labels.values(), otp, harness.__version__)

    def set_phase(self, phase: str) -> None:
        """Raises ValueError for a phase that is not in ``names.PHASES``."""
        if phase not in names.PHASES:
            raise ValueError(f"no such phase: {phase}")
        self._phase = phase

    def set_outcome(self, outcome: str) -> None:
        """Raises ValueError for a verdict that is not in ``names.VERDICTS``."""
        if outcome not in names.VERDICTS:
            raise ValueError(f"no such verdict: {outcome}")
        self._verdict = outcome

    def set_expectation(self, expectation: str, passed: bool) -> None:
        self._set(names.EXPECTATION, float(passed), expectation)

    def set_lost_writes(self, table: str, n: int) -> None:
        self._set(names.LOST_WRITES, float(n), table)

    def set_divergent(self, table: str, n: int) -> None:
        self._set(names.DIVERGENT, float(n), table)

    # --- read ---

    def load_summary(self) -> dict[str, Any]:
        """What the load came to: ``offered``, ``completed``, ``late``, ``dropped`` by reason, ``workers``' peaks."""
        with self._lock:
            workers = list(self._workers.values())
            peaks = {who: dict(peak) for who, peak in self._peaks.items()}
        totals: dict[str, float] = {}
        dropped: dict[str, int] = {}
        for worker in workers:
            for (name, labels), n in worker.counters.items():
                totals[name] = totals.get(name, 0.0) + n
                if name == names.DROPPED.name:
                    dropped[labels[0]] = dropped.get(labels[0], 0) + int(n)
        counted = {"offered": names.OFFERED, "completed": names.OPERATIONS, "late": names.LATE}
        return {key: int(totals.get(f.name, 0)) for key, f in counted.items()} | {
            "dropped": dropped,
            "workers": peaks,
        }

    def points(self) -> Iterator[Point]:
        """Every metric as it stands now, family by family in the order of ``names.FAMILIES``."""
        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
            workers = list(self._workers.values())
            histograms: dict[str, dict[Labels, Buckets]] = {}
            for (name, *rest), observed in self._observed.items():
                copy = Buckets(list(observed.counts), observed.total)
                histograms.setdefault(name, {})[tuple(rest)] = copy
            fold = self._folds[names.LAG.name]
            histograms[names.LAG.name] = {labels: fold(lag) for labels, lag in self._lag.items()}
        for worker in workers:
            for (name, series_labels), n in worker.counters.items():
                series = values.setdefault(name, {})
                series[series_labels] = series.get(series_labels, 0.0) + n
            for (name, series_labels), n in worker.gauges.items():
                values.setdefault(name, {})[series_labels] = n
            for (name, series_labels), folded in worker.histograms.items():
                into = histograms.setdefault(name, {})
                empty = Buckets([0] * len(folded.counts))
                into.setdefault(series_labels, empty).add(folded)
        values[names.IN_FLIGHT.name] = {(): sum(worker.in_flight for worker in workers)}
        for family in names.FAMILIES:
            match family.kind:
                case "stateset":
                    now = self._phase if family is names.PHASE else self._verdict
                    yield Point(family, (), tuple(float(state == now) for state in family.states))
                case "histogram":
                    for labels, buckets in sorted(histograms.get(family.name, {}).items()):
                        yield Point(family, labels, (*map(float, buckets.cumulative()), buckets.total))
                case _:
                    for labels, value in sorted(values.get(family.name, {}).items()):
                        yield Point(family, labels, (value,))

    # --- shared ---

    def _set(self, family: Family, value: float, *labels: str) -> None:
        with self._lock:
            self._values.setdefault(family.name, {})[labels] = value

    def _observe(self, family: Family, seconds: float, *labels: str) -> None:
        with self._lock:
            empty = Buckets([0] * (len(family.buckets) + 1))
            into = self._observed.setdefault((family.name, *labels), empty)
            into.counts[bisect_left(family.buckets, seconds)] += 1
            into.total += seconds
