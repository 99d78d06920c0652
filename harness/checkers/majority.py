"""What the two sides of a cut did to majority tables: minority_refuses, dirty_bypass, dual_majority.

All three look at the time between the last node's detection and the order to heal, and leave out MARGIN after it:
Mnesia follows nodedown within milliseconds, and an operation may straddle it. One that began in that time, got no
answer and took effect all the same may have done so while the cut was there: then nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import DIRTY, MIN_SAMPLES, TRANSACTIONS, WRITES, Facts
from harness.checkers.loss import present
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding, Outcome, Severity
from harness.checkers.windows import FaultWindow
from harness.history import OK, UNKNOWN
from harness.scenario.plan import PlannedTable

MARGIN_NS = 500_000_000
Mask = npt.NDArray[np.bool_]
Case = tuple[FaultWindow, PlannedTable]


def _judged(
    check: str,
    facts: Facts,
    concerned: Callable[[FaultWindow, PlannedTable], Mask],
    judge: Callable[[FaultWindow, PlannedTable, Mask, Mask], Finding],
    severity: Severity = "fail",
) -> Iterator[Finding]:
    """One finding for each cut of a majority table during which operations that are ``concerned`` were asked.

    ``judge`` is given those that ended while the cut was known, and those that began then and have no sure outcome
    although they took effect.
    """
    cases = [(cut, table) for cut in facts.cuts for table in facts.plan.tables if table.majority]
    severity = facts.severity(check, severity)
    told = False
    for cut, table in cases:
        ended, begun = _while_parted(facts, cut)
        asked = concerned(cut, table)
        open_ended = asked & begun & (facts.operations.outcome == UNKNOWN)
        if not (asked & ended).any() and not open_ended.any():
            if (missing := _expected(facts, cut, asked)) >= MIN_SAMPLES:
                told = True
                why = f"none of about {missing:,.0f} such operations was answered while the cut was known to all"
                yield Finding(check, "unknown", why, severity=severity, subject=f"{table.name}, {cut.name}")
            continue
        told = True
        if facts.overdue(cut):
            yield _unseen(check, cut, table, severity)
        else:
            found = judge(cut, table, asked & ended, open_ended & _took_effect(facts, table))
            yield replace(
                found, severity=severity, subject=f"{table.name}, {cut.name}", unit=found.unit or "operations"
            )
    if not told:
        yield Finding(check, "not_applicable", _why_nothing(cases), severity=severity)


def _span(facts: Facts, cut: FaultWindow) -> tuple[int, int]:
    """While everybody knew of the cut and it was still in force; empty where it did not last that long."""
    known = cut.detected
    if facts.overdue(cut):
        known = cut.in_force + round(facts.detection_bound * 1e9)  # when everybody should have known
    if known is None:
        return 0, -1
    ends = [r.time for r in facts.history.faults() if r.kind == "recover" and r.time > known]
    ends.append(cut.heal_began if cut.heal_began is not None else facts.timeline.load_end)
    return known + MARGIN_NS, min(ends)


def _while_parted(facts: Facts, cut: FaultWindow) -> tuple[Mask, Mask]:
    """Operations that began and ended in that time; those that began then."""
    start, end = _span(facts, cut)
    ops = facts.operations
    begun: Mask = (ops.start >= start) & (ops.start <= end)
    ended: Mask = begun & (ops.end >= 0) & (ops.end <= end)
    return ended, begun


def _expected(facts: Facts, cut: FaultWindow, asked: Mask) -> float:
    """How many of these operations would have come in that time, had they gone on as before the cut."""
    start, end = _span(facts, cut)
    calm = cut.injected - facts.timeline.origin
    before = int((asked & (facts.operations.start < cut.injected)).sum())
    return before / calm * max(end - start, 0) if calm > 0 else 0.0


def _took_effect(facts: Facts, table: PlannedTable) -> Mask:
    """Operations whose id some copy holds, or held until a recovery."""
    final = facts.history.final
    held = [copy.ids for copy in facts.replicas(table.name) if copy.ids is not None]
    if final is not None and table.name in final.discarded:
        held.append(final.discarded[table.name])
    there = np.unique(np.concatenate(held)) if held else np.empty(0, dtype=np.uint64)
    return present(facts.operations.id, there)


def _unseen(check: str, cut: FaultWindow, table: PlannedTable, severity: Severity) -> Finding:
    """The cut should have been known, and was not seen to be: what it did to the table proves nothing."""
    late = ", ".join(sorted(cut.observers - cut.detected_by.keys()))
    summary = f"{late} was not seen to notice the cut, so that nobody knows from when on to judge"
    return Finding(check, "unknown", summary, severity=severity, subject=f"{table.name}, {cut.name}")


def _minority(facts: Facts, cut: FaultWindow, table: PlannedTable) -> set[str]:
    """Nodes on sides that reach at most half of the copies, counting those that the cut leaves with everyone."""
    free = set(facts.nodes) - set().union(*cut.sides)
    return {
        node for side in cut.sides if 2 * len((side | free) & set(table.copies)) <= len(table.copies) for node in side
    }


def _why_nothing(cases: Sequence[Case]) -> str:
    if not cases:
        return "no majority table was cut apart"
    if not any(cut.detected for cut, _ in cases):
        return "no cut outlived its detection"
    return "no such operation while a cut was known to all"


def _of(facts: Facts, table: PlannedTable, kinds: Sequence[str], contexts: Sequence[str]) -> Mask:
    found: Mask = np.logical_or.reduce(
        [facts.operations.of_kind(*kinds, table=table.name, context=c) for c in contexts]
    )
    return found


def minority_refuses(facts: Facts) -> Iterator[Finding]:
    """In a minority, transactions that write to majority tables abort with ``no_majority`` and never commit."""
    ops = facts.operations

    def concerned(cut: FaultWindow, table: PlannedTable) -> Mask:
        return _of(facts, table, WRITES, TRANSACTIONS) & facts.on(_minority(facts, cut, table))

    def judge(cut: FaultWindow, table: PlannedTable, asked: Mask, unsure: Mask) -> Finding:
        committed = np.flatnonzero(asked & (ops.outcome == OK))
        blocked = int((asked & (ops.outcome == UNKNOWN)).sum())
        refused = int(asked.sum()) - len(committed) - blocked
        summary = f"{refused:,} of {int(asked.sum()):,} minority transactions refused, {len(committed):,} committed"
        if not asked.any():
            summary = "no minority transaction was answered while the cut lasted"
        elif blocked:
            summary += f", {blocked:,} without an answer"
        if unsure.any():
            summary += f"; {int(unsure.sum()):,} without an answer took effect, during the cut or after it"
        outcome: Outcome = "fail" if len(committed) else "pass" if refused and not unsure.any() else "unknown"
        shown = committed if len(committed) else np.flatnonzero(unsure)
        return Finding("minority_refuses", outcome, summary, value=float(len(committed)), limit=0.0,
                       evidence=tuple(facts.operation(int(row)) for row in shown[:EVIDENCE_LIMIT]))  # fmt: skip

    yield from _judged("minority_refuses", facts, concerned, judge)


def dirty_bypass(facts: Facts) -> Iterator[Finding]:
    """Dirty writes know no majority: what a minority accepted is told as a warning."""
    ops = facts.operations
    limit = facts.expectation("dirty_bypass")
    allowed = limit.limit if limit is not None and limit.limit is not None else 0.0

    def concerned(cut: FaultWindow, table: PlannedTable) -> Mask:
        return _of(facts, table, WRITES, DIRTY) & facts.on(_minority(facts, cut, table))

    def judge(cut: FaultWindow, table: PlannedTable, asked: Mask, unsure: Mask) -> Finding:
        rows = np.flatnonzero(asked & (ops.outcome == OK))
        possible = len(rows) + int(unsure.sum())
        outcome: Outcome = "fail" if len(rows) > allowed else "unknown" if possible > allowed else "pass"
        return Finding("dirty_bypass", outcome,
                       f"{len(rows):,} dirty writes to a majority table were accepted by a minority",
                       value=float(len(rows)), limit=allowed,
                       evidence=tuple(facts.operation(int(row)) for row in rows[:EVIDENCE_LIMIT]))  # fmt: skip

    yield from _judged("dirty_bypass", facts, concerned, judge, "warn")


def dual_majority(facts: Facts) -> Iterator[Finding]:
    """One key of a majority table updated by committed transactions on two sides of one cut."""
    ops = facts.operations

    def concerned(cut: FaultWindow, table: PlannedTable) -> Mask:
        updates = _of(facts, table, ("update",), TRANSACTIONS)
        on_side = [updates & facts.on(side) for side in cut.sides]
        if sum(bool(side.any()) for side in on_side) < 2:  # only one side was ever asked
            return np.zeros(len(ops), dtype=np.bool_)
        return updates

    def judge(cut: FaultWindow, table: PlannedTable, asked: Mask, unsure: Mask) -> Finding:
        committed = asked & (ops.outcome == OK)
        shared, possible = (_on_two_sides(facts, cut, mask) for mask in (committed, committed | unsure))
        evidence = []
        for key in (shared if len(shared) else possible)[: EVIDENCE_LIMIT // 2]:
            for side in cut.sides:
                first = np.flatnonzero((committed | unsure) & facts.on(side) & (ops.key == key))[:1]
                evidence += [facts.operation(int(row)) for row in first]
        summary = f"{len(shared):,} keys were committed on both sides" if len(shared) else "no key on both sides"
        if len(possible) and not len(shared):
            summary = f"{len(possible):,} keys may have been: updates without an answer took effect"
        outcome: Outcome = "fail" if len(shared) else "unknown" if len(possible) else "pass"
        return Finding("dual_majority", outcome, summary, value=float(len(shared)), limit=0.0, unit="keys",
                       evidence=tuple(evidence))  # fmt: skip

    yield from _judged("dual_majority", facts, concerned, judge)


def _on_two_sides(facts: Facts, cut: FaultWindow, updates: Mask) -> npt.NDArray[np.int64]:
    keys = [np.unique(facts.operations.key[updates & facts.on(side)]) for side in cut.sides]
    return np.unique(np.concatenate([np.intersect1d(a, b, assume_unique=True) for a, b in combinations(keys, 2)]))
