"""Whether the run can carry a judgement at all: enough_samples, fault_bit, generator, probes,
final_state.

None of these can find a violation. What they miss makes the verdict INCONCLUSIVE, because a fault that did not bite or
an operation that never ran would otherwise count as survived.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from harness.checkers.facts import Facts
from harness.checkers.phases import PHASES
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding
from harness.checkers.windows import step_name
from harness.history import OK

MIN_SAMPLES: Final = 10
MIN_PHASE_S: Final = 1.0
LATE_SHARE: Final = 0.01
RATE_SHARE: Final = 0.9
CHANCE: Final = 4.0  # standard deviations that the number of random arrivals may stay below its mean


def enough_samples(facts: Facts) -> Iterator[Finding]:
    """Operations in every phase of some length, and each kind of table operation succeeded at least once."""
    ops = facts.operations
    limit = facts.expectation("enough_samples")
    severity = facts.severity("enough_samples")
    wanted = limit.min if limit is not None and limit.min is not None else MIN_SAMPLES
    if not (ops.outcome == OK).any():
        summary = f"none of {len(ops):,} operations ended ok" if len(ops) else "no operation was recorded"
        yield Finding("enough_samples", "unknown", summary, severity=severity, value=0.0, limit=wanted)
        return
    thin: list[dict[str, Any]] = []
    fewest = float(len(ops))
    for number, phase in enumerate(PHASES):
        lasted = facts.timeline.lasting(phase)
        needed = wanted
        if facts.plan.load.rate is not None and (limit is None or limit.min is None):
            needed = min(wanted, facts.plan.load.rate * lasted / 2)
        if lasted < MIN_PHASE_S:
            continue
        count = _touching(facts, number)
        fewest = min(fewest, count)
        if count < needed:
            thin.append({"phase": phase, "lasted_s": round(lasted, 3), "operations": count, "needed": needed})
    thin.extend(_never_succeeded(facts))
    if thin:
        named = ", ".join(str(item.get("phase") or item.get("operation")) for item in thin)
        yield Finding("enough_samples", "unknown", f"too few operations to judge: {named}", severity=severity,
                      value=fewest, limit=wanted, unit="operations", evidence=tuple(thin[:EVIDENCE_LIMIT]))  # fmt: skip
    else:
        yield Finding("enough_samples", "pass", f"{len(ops):,} operations, at least {fewest:,.0f} in every phase",
                      severity=severity, value=fewest, limit=wanted, unit="operations")  # fmt: skip


def _touching(facts: Facts, phase: int) -> int:
    """Operations in flight at some moment of a phase: closed-loop users that all block in it are samples of it."""
    ops = facts.operations
    known_until = np.where(ops.end >= 0, ops.end, facts.timeline.load_end)
    inside = np.zeros(len(ops), dtype=np.bool_)
    for name, start, end in facts.timeline.intervals:
        if name == PHASES[phase]:
            inside |= (ops.intended < end) & (known_until >= start)
    return int(inside.sum())


def _never_succeeded(facts: Facts) -> Iterator[dict[str, Any]]:
    """Planned table operations without a single ok: a check over their writes would pass with nothing in hand."""
    ops = facts.operations
    good = {ops.operations[i].name for i in np.unique(ops.op[ops.outcome == OK])}
    ran = {ops.operations[i].name for i in np.unique(ops.op)}
    for planned in facts.plan.load.operations:
        if planned.name not in ran:
            yield {"operation": planned.name, "problem": "never ran"}
        elif planned.kind != "rpc" and planned.name not in good:
            yield {"operation": planned.name, "problem": "never succeeded"}


def fault_bit(facts: Facts) -> Iterator[Finding]:
    """Every step of the timeline took place, was seen to bite, and was seen healed."""
    if not facts.plan.timeline:
        yield Finding("fault_bit", "not_applicable", "the scenario breaks nothing")
    missed = list(facts.history.marks("renewal_missed"))
    for step in facts.plan.timeline:
        records = {r.stage: r for r in facts.history.faults() if r.step == step.id}
        name = step_name(facts.plan, step.id, step.kind)
        trouble = ""
        for stage, said in (
            ("failed", "failed"),
            ("skipped", "was skipped"),
            ("not_bitten", "was not seen to bite"),
            ("not_healed", "was not seen healed"),
        ):
            if stage in records:
                trouble = f"{step.kind} {said}"
                break
        if not trouble and not records.keys() - {"planned"}:
            trouble = f"{step.kind} never took place"
        elif not trouble and "bit" not in records and not (not step.action.lasting and records.keys() & {"healed"}):
            trouble = f"{step.kind} was not seen to bite"
        elif not trouble and step.action.lasting and "healed" not in records:
            trouble = f"{step.kind} was not seen healed"
        if not trouble and any(mark.detail.get("step", step.id) == step.id for mark in missed):
            trouble = f"{step.kind}: a renewal came late, so it may have healed by itself for a moment"
        evidence = tuple(
            {"stage": r.stage, "at_s": round(facts.timeline.relative(r.time), 3), **r.detail}
            for r in sorted(records.values(), key=lambda r: r.time)
        )[-EVIDENCE_LIMIT:]
        if trouble:
            yield Finding("fault_bit", "unknown", trouble, subject=name, evidence=evidence)
        else:
            done = "bit and was healed" if step.action.lasting else "took place"
            yield Finding("fault_bit", "pass", f"{step.kind} {done}", subject=name)


def generator(facts: Facts) -> Iterator[Finding]:
    """The load generator kept up: no worker was lost or fell silent, nobody stopped it, its rate was offered, few
    starts were dropped as too late."""
    load = facts.history.load
    offered = _total(load.get("offered", 0))
    dropped = {str(reason): int(n) for reason, n in dict(load.get("dropped", {})).items() if n}
    late = dropped.get("generator_late", 0)
    planned = facts.plan.load
    recorded = len(facts.operations)
    problems = [f"worker {m.detail.get('worker', '?')} was lost" for m in facts.history.marks("worker_lost")]
    problems += [f"worker {m.detail.get('worker', '?')} fell silent" for m in facts.history.marks("worker_silent")]
    problems += [str(m.detail.get("cause", "load failed")) for m in facts.history.marks("load_failed")]
    problems += [f"load was stopped by {m.detail.get('by', '?')}" for m in facts.history.marks("load_stopped")]
    if not load and planned.rate is not None:
        problems.append("the load generator left no figures")
    if offered and late > LATE_SHARE * offered:
        problems.append(f"{late:,} of {offered:,} operations were dropped because the generator was late")
    if planned.rate is not None and offered:
        due = planned.rate * max((facts.timeline.load_end - facts.timeline.origin) / 1e9, 0.0)
        if offered < RATE_SHARE * due - CHANCE * math.sqrt(due):
            problems.append(f"{offered:,} operations were offered where the rate asks for {due:,.0f}")
    sent = offered - sum(dropped.values())
    if offered and recorded < RATE_SHARE * sent:
        problems.append(f"{sent:,} operations were started and {recorded:,} are in the history")
    evidence: list[dict[str, Any]] = [
        {"worker": name, **figures} for name, figures in dict(load.get("workers", {})).items()
    ]
    if dropped:
        evidence.append({"dropped": dropped})
    shown = tuple(evidence[:EVIDENCE_LIMIT])
    share = late / offered if offered else 0.0
    if problems:
        yield Finding("generator", "unknown", "; ".join(problems), value=share, limit=LATE_SHARE, unit="ratio",
                      evidence=shown)  # fmt: skip
        return
    said = f"{offered or recorded:,} operations offered"
    if dropped:
        said += ", dropped: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(dropped.items()))
    yield Finding("generator", "pass", said, value=share, limit=LATE_SHARE, unit="ratio", evidence=shown)


def _total(figure: Any) -> int:
    """A figure as one number, where it is kept per operation or node their sum."""
    return int(sum(figure.values())) if isinstance(figure, dict) else int(figure)


def probes(facts: Facts) -> Iterator[Finding]:
    """The nodes were watched to the end: no watch failed, and none of their events was lost."""
    lost = [m for m in facts.history.marks("probe_dropped") if m.detail.get("what") == "events"]
    missed = sorted((*facts.history.marks("probe_failed"), *lost), key=lambda mark: mark.time)
    if not missed:
        yield Finding("probes", "pass", "every node was watched to the end")
        return
    nodes = ", ".join(sorted({facts.node(str(mark.detail.get("node", "?"))) for mark in missed}))
    evidence = tuple(
        {"problem": mark.name, "at_s": round(facts.timeline.relative(mark.time), 3), **mark.detail} for mark in missed
    )
    yield Finding("probes", "unknown", f"{nodes} could not be watched to the end", value=float(len(missed)),
                  evidence=evidence[:EVIDENCE_LIMIT])  # fmt: skip


def final_state(facts: Facts) -> Iterator[Finding]:
    """The nodes' own copies and views were read after quiesce."""
    final = facts.history.final
    if final is None:
        yield Finding("final_state", "unknown", "the run ended before the nodes were read")
    elif final.problems:
        evidence = tuple({"problem": problem} for problem in final.problems[:EVIDENCE_LIMIT])
        yield Finding("final_state", "unknown", final.problems[0], evidence=evidence, value=float(len(final.problems)))
    else:
        yield Finding("final_state", "pass", f"{len(final.views)} nodes and {len(final.replicas)} copies were read")
