"""Whether the run can carry a judgement at all: enough_samples, fault_bit, generator, probes, final_state, record.

None of these can find a violation. What they miss makes the verdict INCONCLUSIVE, because a fault that did not bite or
an operation that never ran would otherwise count as survived.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import CHANCE, MIN_SAMPLES, WRITES, Facts
from harness.checkers.phases import PHASES
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding
from harness.checkers.windows import step_name
from harness.history import OK

MIN_PHASE_S: Final = 1.0
CALM: Final = ("before", "after")
LATE_SHARE: Final = 0.01
ENDED_SHARE: Final = 0.1
RATE_SHARE: Final = 0.9
_ABSENCES: Final = {"worker_lost": "was lost", "worker_silent": "fell silent"}


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
    full = dict(facts.history.load.get("dropped", {})).get("max_rows", 0)
    belongs = facts.timeline.phase_of(ops.intended, ops.end)
    for number, phase in enumerate(PHASES):
        lasted = facts.timeline.lasting(phase)
        needed = wanted
        if facts.plan.load.rate is not None and (limit is None or limit.min is None):
            needed = min(wanted, facts.plan.load.rate * lasted / 2)
        if lasted < MIN_PHASE_S:
            continue
        inside = _touching(facts, number)
        begun = int((belongs == number).sum())
        count = int(inside.sum())
        fewest = min(fewest, count)
        told = {"phase": phase, "lasted_s": round(lasted, 3), "operations": count, "needed": needed}
        if count < needed:
            thin.append(told)
        elif phase in CALM and not begun:  # those still in flight tell of the phase before
            thin.append({**told, "problem": "nothing was begun"})
        elif phase in CALM and not (ops.outcome[inside] == OK).any():
            thin.append({**told, "problem": "none ended ok"})
        elif full and not (inside & ops.of_kind(*WRITES)).any():
            thin.append({**told, "problem": "no write: load.max_rows was reached"})
    thin.extend(_never_succeeded(facts))
    if thin:
        yield Finding("enough_samples", "unknown", _missing(thin), severity=severity,
                      value=fewest, limit=wanted, unit="operations", evidence=tuple(thin[:EVIDENCE_LIMIT]))  # fmt: skip
    else:
        yield Finding("enough_samples", "pass", f"{len(ops):,} operations, at least {fewest:,.0f} in every phase",
                      severity=severity, value=fewest, limit=wanted, unit="operations")  # fmt: skip


def _missing(thin: list[dict[str, Any]]) -> str:
    """``too few operations to judge: before; never succeeded: write kv transaction``."""
    said: dict[str, list[str]] = {}
    for item in thin:
        problem = str(item.get("problem", "too few operations to judge"))
        said.setdefault(problem, []).append(str(item.get("phase") or item.get("operation")))
    return "; ".join(f"{problem}: {', '.join(named)}" for problem, named in said.items())


def _touching(facts: Facts, phase: int) -> npt.NDArray[np.bool_]:
    """Mask of the operations in flight at some moment of a phase: closed-loop users that all block in it are samples
    of it. One without an answer counts for as long as its user waits."""
    ops, load = facts.operations, facts.plan.load
    patience = max([load.timeout, *(o.call.timeout for o in load.operations if o.call is not None)])
    known_until = np.where(ops.end >= 0, ops.end, ops.start + round(patience * 1e9))
    inside = np.zeros(len(ops), dtype=np.bool_)
    for name, start, end in facts.timeline.intervals:
        if name == PHASES[phase]:
            inside |= (ops.intended < end) & (known_until >= start)
    return inside


def _never_succeeded(facts: Facts) -> Iterator[dict[str, Any]]:
    """Operations without a single ok: a check over them would pass with nothing in hand."""
    ops = facts.operations
    good = {ops.operations[i].name for i in np.unique(ops.op[ops.outcome == OK])}
    ran = {ops.operations[i].name: ops.operations[i].kind for i in np.unique(ops.op)}
    planned = {operation.name for operation in facts.plan.load.operations}
    for name in planned - ran.keys():
        yield {"operation": name, "problem": "never ran"}
    for name, kind in ran.items():  # of a locustfile's calls some may be meant to fail
        if name not in good and (name in planned or kind in (*WRITES, "read")):
            yield {"operation": name, "problem": "never succeeded"}


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
        if not trouble and step.until is not None and "healing" in records:
            ended = records["healing"].detail.get("ended")
            if ended in ("timeout", "load ended"):
                trouble = f"{step.kind} waited for {step.until.event} and never saw it ({ended})"
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
    problems = _missed_workers(facts)
    problems += [str(m.detail.get("cause", "load failed")) for m in facts.history.marks("load_failed")]
    problems += [f"load was stopped by {m.detail.get('by', '?')}" for m in facts.history.marks("load_stopped")]
    if not load:
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
    ended = int((facts.operations.end >= 0).sum())
    if (completed := int(load.get("completed", 0))) > ended:  # each is on disk before it is counted
        problems.append(f"{completed:,} operations were answered and {ended:,} answers are in the history")
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
    never = dropped.get("load_ended", 0)
    if never > ENDED_SHARE * offered:  # whether enough were begun is for enough_samples
        summary = f"{never:,} of {offered:,} operations offered were due and not begun when load ended"
        yield Finding("generator", "unknown", summary, severity="warn", value=never / offered, limit=ENDED_SHARE,
                      unit="ratio", evidence=shown)  # fmt: skip
        return
    said = f"{offered or recorded:,} operations offered"
    if dropped:
        said += ", dropped: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(dropped.items()))
    yield Finding("generator", "pass", said, value=share, limit=LATE_SHARE, unit="ratio", evidence=shown)


def _missed_workers(facts: Facts) -> list[str]:
    """Those that were lost or fell silent under load, or before it without being back, or replaced, when it began."""
    begun = facts.timeline.origin - round(facts.plan.load.ramp * 1e9)
    told: list[str] = []
    away: dict[str, str] = {}  # before load began
    for mark in facts.history.marks(*_ABSENCES, "worker_joined", "worker_returned"):
        who = str(mark.detail.get("worker", "?"))
        if (happened := _ABSENCES.get(mark.name)) is not None:
            if mark.time < begun:
                away[who] = f"worker {who} {happened}"
            else:
                told.append(f"worker {who} {happened}")
        elif mark.time < begun and away:
            away.pop(who if who in away else next(iter(away)))
    return [*away.values(), *told]


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
    """The nodes' own copies and views were read after quiesce, of every node and every planned copy."""
    final = facts.history.final
    if final is None:
        yield Finding("final_state", "unknown", "the run ended before the nodes were read")
        return
    asked = {facts.node(view.node) for view in final.views if view.answered}
    problems = [*final.problems]
    if not problems:
        problems += [f"{node}: was not asked" for node in facts.nodes if node not in asked]
        problems += [
            f"{node}: its copy of {t.name} was not read" for t in facts.plan.tables for node in facts.unread(t.name)
        ]
    if problems:
        evidence = tuple({"problem": problem} for problem in problems[:EVIDENCE_LIMIT])
        yield Finding("final_state", "unknown", problems[0], evidence=evidence, value=float(len(problems)))
    else:
        yield Finding("final_state", "pass", f"{len(final.views)} nodes and {len(final.replicas)} copies were read")


def record(facts: Facts) -> Iterator[Finding]:
    """What the run wrote down can be read back, to its end."""
    history = facts.history
    problems = [*history.damage]
    if not any(mark.detail.get("phase") == "judging" for mark in history.marks("phase")):
        problems.append("the journal ends before the run came to be judged")
    if (sampled := int(history.load.get("lag_samples", 0))) > len(history.lag.rows):
        problems.append(f"{sampled:,} lag samples were taken and {len(history.lag.rows):,} are in the history")
    if problems:
        evidence = tuple({"problem": problem} for problem in problems[:EVIDENCE_LIMIT])
        yield Finding("record", "unknown", "; ".join(problems[:EVIDENCE_LIMIT]), evidence=evidence)
    else:
        yield Finding("record", "pass", "every file of the run is whole")
