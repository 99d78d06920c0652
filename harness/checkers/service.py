"""What users of the cluster felt, per phase: latency, availability, replication lag.

Latency counts from the intended start of an operation to its ok; availability is the share of operations that ended
ok, an operation without answer counting against it. An operation belongs to the phase it was due in,
or to the fault that caught it in flight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import CHANCE, WRITES, Facts, judged
from harness.checkers.phases import PHASES
from harness.checkers.verdict import Finding
from harness.checkers.words import duration, share
from harness.history import FAIL, OK, UNKNOWN
from harness.scenario.schema import Limit

WAITED: Final = ("all_users_busy", "generator_late", "load_ended")
"""Why an operation that was due may never have begun. (``max_rows`` is a limit of the scenario's own.)"""

FOREVER_S: Final = 1e9


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
    stats, took = _expected(facts, "latency")
    if stats.p99 is None:
        yield _nothing(facts, "latency", stats, "no operation ended ok")
        return
    summary = f"p99 {duration(stats.p99)}, p50 {duration(stats.p50)} over {stats.ok:,} operations"
    unheard = stats.unknown + _never_begun(facts, stats)
    yield _or_unsure(
        judged("latency", stats.p99, facts.expectation("latency"), summary, unit="s", subject=stats.phase),
        # one without an answer took longer than any that has one
        unheard and float(np.percentile(np.append(took, np.full(unheard, FOREVER_S)), 99, method="higher")),
        unheard,
        facts.expectation("latency"),
    )


def availability(facts: Facts) -> Iterator[Finding]:
    """Share of operations that ended ok, in the phase the expectation names or over the whole run."""
    stats, _ = _expected(facts, "availability")
    if stats.availability is None:
        yield _nothing(facts, "availability", stats, "no operations")
        return
    summary = f"{share(stats.availability)} ok, {stats.fail:,} failed, {stats.unknown:,} without a certain outcome"
    unheard = _never_begun(facts, stats)
    yield _or_unsure(
        judged("availability", stats.availability, facts.expectation("availability"), summary, unit="ratio",
               subject=stats.phase),
        unheard and stats.ok / (stats.count + unheard),
        unheard,
        facts.expectation("availability"),
    )  # fmt: skip


def _nothing(facts: Facts, check: str, stats: PhaseStats, why: str) -> Finding:
    return Finding(check, "unknown", why, severity=facts.severity(check, "warn"), subject=stats.phase)


def _or_unsure(found: Finding, worst: float, unheard: int, limit: Limit | None) -> Finding:
    """``found``, unless it passes only because of ``unheard`` operations are left out: counted at their ``worst``, it
    would not."""
    if limit is None or not unheard or found.outcome != "pass":
        return found
    if judged(found.check, worst, limit, "").outcome == "pass":
        return found
    summary = f"{found.summary}; {unheard:,} more were due and never answered, so that nobody knows"
    return replace(found, outcome="unknown", summary=summary)


def _never_begun(facts: Facts, stats: PhaseStats) -> int:
    """Operations that were due and dropped before they began. In a phase no more than its rate surely lacks: when each
    was dropped is not recorded."""
    dropped = sum(int(n) for reason, n in dict(facts.history.load.get("dropped", {})).items() if reason in WAITED)
    if not stats.phase or facts.plan.load.rate is None:
        return dropped if not stats.phase else 0
    due = facts.plan.load.rate * stats.lasted
    short = due - stats.count
    return min(dropped, round(short)) if short > CHANCE * math.sqrt(due) else 0


def _expected(facts: Facts, check: str) -> tuple[PhaseStats, npt.NDArray[np.float64]]:
    """The phase that the expectation names (or the whole run), and how long each ok operation in it took (s)."""
    limit = facts.expectation(check)
    phase = limit.phase if limit is not None else ""
    ops = facts.operations
    if phase:
        inside = facts.timeline.phase_of(ops.intended, ops.end) == PHASES.index(phase)
    else:
        inside = np.ones(len(ops), dtype=np.bool_)
    stats = _stats(facts, phase, "", facts.timeline.lasting(phase) if phase else 0.0, inside)
    good = inside & (ops.outcome == OK)
    return stats, (ops.end[good] - ops.intended[good]) / 1e9


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
        own = rows[rows["context"] == context]
        lags = own["lag"] / 1e9
        p99 = float(np.percentile(lags, 99))
        name = words[context] if context < len(words) else str(context)
        summary = f"p99 {duration(p99)}, longest {duration(float(lags.max()))} over {len(own):,} samples"
        found = judged("lag", p99, limit, summary, unit="s", subject=name)
        if limit is not None and (blank := _unsampled(facts, own)):
            summary += f"; no sample at all from {', '.join(f'{a} to {b}' for a, b in blank)}"
            found = replace(found, outcome="unknown" if found.outcome == "pass" else found.outcome, summary=summary)
        if lost:  # the slow ones are the first to find no room
            summary += f"; nodes had no room for {lost:,} more"
            found = replace(found, outcome="fail" if found.outcome == "fail" else "unknown", summary=summary)
        yield found


def _unsampled(facts: Facts, rows: npt.NDArray[Any]) -> list[tuple[str, str]]:
    """(source, replica) of which these samples hold none: a row that never arrived there has no lag, it has no end."""
    words = facts.history.lag.words
    seen = {
        tuple(facts.node(words[number]) if number < len(words) else "" for number in pair)
        for pair in np.unique(rows[["source", "replica"]]).tolist()
    }
    context = {words[number] for number in np.unique(rows["context"]) if number < len(words)}
    wanted: set[tuple[str, str]] = set()
    for table in facts.plan.tables:
        writing = [o for o in facts.plan.load.operations if o.table == table.name and o.kind in WRITES]
        sources = {node for o in writing if o.context in context for node in o.on}
        wanted |= {(a, b) for a in (sources if writing else table.copies) for b in table.copies if a != b}
    return sorted(wanted - seen)
