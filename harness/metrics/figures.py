"""The figures of one run: written by everything that measures, read by the exposition and by the sampler.

Thread-safe.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import harness
from harness.histogram import LogLinear
from harness.history import FaultRecord
from harness.metrics import names
from harness.metrics.buckets import NS, Buckets, Fold
from harness.metrics.names import Family, Labels
from harness.metrics.workers import Series, Workers
from harness.scenario.actions import ACTIONS
from harness.scenario.plan import Plan


@dataclass(frozen=True, slots=True)
class Point:
    """One metric now. ``values``: one number, or cumulative buckets and then the sum, or one 0/1 for each state."""

    family: Family
    labels: Labels
    values: tuple[float, ...]


class Figures:
    """All figures of one run. ``otp`` is what ``harness_run`` tells, such as ``27`` or ``25,27``.

    Not known yet, it stays empty and ``harness_run`` is missing until ``set_otp``: a series with another label would
    be another run to Prometheus.
    """

    def __init__(self, plan: Plan, run_id: str, otp: str = "", clock: Callable[[], float] = time.time) -> None:
        self.run_labels = {"run_id": run_id, "scenario": plan.name}
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._observed: dict[Series, Buckets] = {}
        self._lag: dict[Labels, LogLinear] = {}
        self._workers = Workers()
        self.ingest = self._workers.ingest
        self._injecting: dict[str, int] = {}
        self._healing: dict[str, int] = {}
        self._phase = names.PHASES[0]
        self._verdict = names.VERDICTS[0]
        self._fold_lag = Fold(names.LAG.buckets)
        self._values[names.FAULT_ACTIVE.name] = {
            (step.id, step.kind, node): 0.0
            for step in plan.timeline
            if step.action.lasting
            for node in step.action.nodes_named()
        }
        self._set(names.RUN_START, clock())
        if otp:
            self.set_otp(otp)

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
        """What the load came to (see Workers), and how many ``lag_samples`` there are."""
        return {**self._workers.summary(), "lag_samples": self.lag().count}

    def points(self) -> Iterator[Point]:
        """Every metric as it stands now, family by family in the order of ``names.FAMILIES``."""
        workers = self._workers.together()
        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
            observed = {series: Buckets(list(b.counts), b.total) for series, b in self._observed.items()}
            observed |= {(names.LAG.name, labels): self._fold_lag(lag) for labels, lag in self._lag.items()}
        histograms: dict[str, dict[Labels, Buckets]] = {}
        for (name, labels), buckets in (workers.histograms | observed).items():
            histograms.setdefault(name, {})[labels] = buckets
        for (name, labels), n in (workers.counters | workers.gauges).items():
            values.setdefault(name, {})[labels] = n
        values[names.IN_FLIGHT.name] = {(): workers.in_flight}
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
            into = self._observed.setdefault((family.name, labels), empty)
            into.counts[bisect_left(family.buckets, seconds)] += 1
            into.total += seconds
