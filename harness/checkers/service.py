"""What users of the cluster felt, per phase: latency, availability, replication lag.

Latency counts from the intended start of an operation to its ok; availability is the share of operations that ended
ok, an operation without answer counting against it. An operation belongs to the phase it was due in,
or to the fault that caught it in flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import Facts, judged
from harness.checkers.phases import PHASES
from harness.checkers.verdict import Finding
from harness.checkers.words import duration, share
from harness.history import FAIL, OK, UNKNOWN


@dataclass(frozen=True, slots=True)
class PhaseStats:
    """One phase of the load, all operations or those named ``op``. Times in seconds; NaN-free: None where empty."""

    phase: str
    op: str
    lasted: float
    count: int
    ok: int
    fail: int
    unknown: int
    p50: float | None
    p99: float | None
    p999: float | None
    longest: float | None

    @property
    def availability(self) -> float | None:
        return self.ok / self.count if self.count else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "availability": self.availability}


def phase_table(facts: Facts, *, by_operation: bool = False) -> list[PhaseStats]:
    """Statistics of every phase that took place, in order; with ``by_operation`` one row per operation too."""
    ops = facts.operations
    phases = facts.timeline.phase_of(ops.intended, ops.end)
    rows = []
    for number, phase in enumerate(PHASES):
        inside = phases == number
        lasted = facts.timeline.lasting(phase)
        if lasted <= 0 and not inside.any():
            continue
        rows.append(_stats(facts, phase, "", lasted, inside))
        if by_operation:
            for at, operation in enumerate(ops.operations):
                mine = inside & (ops.op == at)
                if mine.any():
                    rows.append(_stats(facts, phase, operation.name, lasted, mine))
    return rows


def _stats(facts: Facts, phase: str, op: str, lasted: float, mask: npt.NDArray[np.bool_]) -> PhaseStats:
    ops = facts.operations
    outcome = ops.outcome[mask]
    good = mask & (ops.outcome == OK)
    took = (ops.end[good] - ops.intended[good]) / 1e9
    p50, p99, p999 = (float(x) for x in np.percentile(took, (50, 99, 99.9))) if len(took) else (None,) * 3
    return PhaseStats(
        phase=phase,
        op=op,
        lasted=round(lasted, 6),
        count=len(outcome),
        ok=int((outcome == OK).sum()),
        fail=int((outcome == FAIL).sum()),
        unknown=int((outcome == UNKNOWN).sum()),
        p50=p50,
        p99=p99,
        p999=p999,
        longest=float(took.max()) if len(took) else None,
    )


def latency(facts: Facts) -> Iterator[Finding]:
    """99th percentile, in the phase the expectation names or over the whole run."""
    limit = facts.expectation("latency")
    stats = _expected_phase(facts, "latency")
    if stats.p99 is None:
        severity = facts.severity("latency", "warn")
        yield Finding("latency", "unknown", "no operation ended ok", severity=severity, subject=stats.phase)
        return
    summary = f"p99 {duration(stats.p99)}, p50 {duration(stats.p50)} over {stats.ok:,} operations"
    yield judged("latency", stats.p99, limit, summary, unit="s", subject=stats.phase)


def availability(facts: Facts) -> Iterator[Finding]:
    """Share of operations that ended ok, in the phase the expectation names or over the whole run."""
    limit = facts.expectation("availability")
    stats = _expected_phase(facts, "availability")
    if stats.availability is None:
        severity = facts.severity("availability", "warn")
        yield Finding("availability", "unknown", "no operations", severity=severity, subject=stats.phase)
        return
    summary = f"{share(stats.availability)} ok, {stats.fail:,} failed, {stats.unknown:,} without a certain outcome"
    yield judged("availability", stats.availability, limit, summary, unit="ratio", subject=stats.phase)


def _expected_phase(facts: Facts, check: str) -> PhaseStats:
    limit = facts.expectation(check)
    phase = limit.phase if limit is not None else ""
    ops = facts.operations
    everything = np.ones(len(ops), dtype=np.bool_)
    if not phase:
        return _stats(facts, "", "", 0.0, everything)
    inside = facts.timeline.phase_of(ops.intended, ops.end) == PHASES.index(phase)
    return _stats(facts, phase, "", facts.timeline.lasting(phase), inside)


def lag(facts: Facts) -> Iterator[Finding]:
    """99th percentile of replication lag (readable on the replica minus acknowledged to the writer), per context."""
    samples = facts.history.lag
    rows, words = samples.rows, samples.words
    limit = facts.expectation("lag")
    severity = facts.severity("lag", "warn")
    if limit is not None and limit.phase and len(rows):
        rows = rows[facts.timeline.phase_at(rows["time"]) == PHASES.index(limit.phase)]
    if not len(rows):
        outcome = "unknown" if limit is not None and facts.plan.mnesia else "not_applicable"
        yield Finding("lag", outcome, "no lag was sampled", severity=severity)  # type: ignore[arg-type]
    lost = sum(int(m.detail["count"]) for m in facts.history.marks("probe_dropped") if m.detail.get("what") == "lag")
    for context in np.unique(rows["context"]):
        own = rows["lag"][rows["context"] == context] / 1e9
        p99 = float(np.percentile(own, 99))
        name = words[context] if context < len(words) else str(context)
        summary = f"p99 {duration(p99)}, longest {duration(float(own.max()))} over {len(own):,} samples"
        found = judged("lag", p99, limit, summary, unit="s", subject=name)
        if lost:  # the slow ones are the first to find no room
            found = replace(found, outcome="unknown", summary=f"{summary}; nodes had no room for {lost:,} more")
        yield found
