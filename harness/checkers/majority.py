"""What the two sides of a cut did to majority tables: minority_refuses, dirty_bypass, dual_majority.

All three look at the time between the last node's detection and the order to heal, and leave out MARGIN after it:
Mnesia follows nodedown within milliseconds, and an operation may straddle it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import DIRTY, TRANSACTIONS, WRITES, Facts
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding
from harness.checkers.windows import FaultWindow
from harness.history import OK, UNKNOWN
from harness.scenario.plan import PlannedTable

MARGIN_NS = 500_000_000
Mask = npt.NDArray[np.bool_]


def _cases(facts: Facts) -> list[tuple[FaultWindow, PlannedTable]]:
    return [(cut, table) for cut in facts.cuts for table in facts.plan.tables if table.majority]


def _while_parted(facts: Facts, cut: FaultWindow) -> Mask:
    """Operations that began and ended while everybody knew of the cut and it was still in force."""
    known = cut.detected
    if facts.overdue(cut):
        known = cut.in_force + round(facts.detection_bound * 1e9)  # when everybody should have known
    if known is None:
        return np.zeros(len(facts.operations), dtype=np.bool_)
    ends = [r.time for r in facts.history.faults() if r.kind == "recover" and r.time > known]
    ends.append(cut.heal_began if cut.heal_began is not None else facts.timeline.load_end)
    ops = facts.operations
    inside: Mask = (ops.start >= known + MARGIN_NS) & (ops.end >= 0) & (ops.end <= min(ends))
    return inside


def _unseen(check: str, facts: Facts, cut: FaultWindow, table: PlannedTable) -> Finding:
    """The cut should have been known, and was not seen to be: what it did to the table proves nothing."""
    late = ", ".join(sorted(cut.observers - cut.detected_by.keys()))
    summary = f"{late} was not seen to notice the cut, so that nobody knows from when on to judge"
    return Finding(check, "unknown", summary, severity=facts.severity(check), subject=f"{table.name}, {cut.name}")


def _minority(facts: Facts, cut: FaultWindow, table: PlannedTable) -> set[str]:
    """Nodes on sides that reach at most half of the copies, counting those that the cut leaves with everyone."""
    free = set(facts.nodes) - set().union(*cut.sides)
    return {
        node for side in cut.sides if 2 * len((side | free) & set(table.copies)) <= len(table.copies) for node in side
    }


def _nothing(check: str, facts: Facts, cases: list[tuple[FaultWindow, PlannedTable]]) -> Finding:
    if not cases:
        why = "no majority table was cut apart"
    elif not any(cut.detected for cut, _ in cases):
        why = "no cut outlived its detection"
    else:
        why = "no such operation while a cut was known to all"
    return Finding(check, "not_applicable", why, severity=facts.severity(check))


def minority_refuses(facts: Facts) -> Iterator[Finding]:
    """In a minority, transactions that write to majority tables abort with ``no_majority`` and never commit."""
    cases = _cases(facts)
    told = False
    for cut, table in cases:
        ops = facts.operations
        asked = _while_parted(facts, cut) & facts.on(_minority(facts, cut, table))
        asked &= np.logical_or.reduce([ops.of_kind(*WRITES, table=table.name, context=c) for c in TRANSACTIONS])
        if not asked.any():
            continue
        told = True
        rows = np.flatnonzero(asked)
        if facts.overdue(cut):
            yield _unseen("minority_refuses", facts, cut, table)
            continue
        committed = rows[ops.outcome[rows] == OK]
        blocked = int((ops.outcome[rows] == UNKNOWN).sum())
        refused = len(rows) - len(committed) - blocked
        summary = f"{refused:,} of {len(rows):,} minority transactions refused, {len(committed):,} committed"
        if blocked:
            summary += f", {blocked:,} without an answer"
        outcome = "fail" if len(committed) else "pass" if refused else "unknown"
        yield Finding(
            "minority_refuses",
            outcome,  # type: ignore[arg-type]
            summary,
            severity=facts.severity("minority_refuses"),
            value=float(len(committed)),
            limit=0.0,
            unit="operations",
            subject=f"{table.name}, {cut.name}",
            evidence=tuple(facts.operation(int(row)) for row in committed[:EVIDENCE_LIMIT]),
        )
    if not told:
        yield _nothing("minority_refuses", facts, cases)


def dirty_bypass(facts: Facts) -> Iterator[Finding]:
    """Dirty writes know no majority: what a minority accepted is told as a warning."""
    cases = _cases(facts)
    told = False
    for cut, table in cases:
        ops = facts.operations
        asked = _while_parted(facts, cut) & facts.on(_minority(facts, cut, table))
        asked &= np.logical_or.reduce([ops.of_kind(*WRITES, table=table.name, context=c) for c in DIRTY])
        if not asked.any():
            continue
        told = True
        if facts.overdue(cut):
            yield replace(_unseen("dirty_bypass", facts, cut, table), severity=facts.severity("dirty_bypass", "warn"))
            continue
        rows = np.flatnonzero(asked & (ops.outcome == OK))
        limit = facts.expectation("dirty_bypass")
        allowed = limit.limit if limit is not None and limit.limit is not None else 0.0
        yield Finding(
            "dirty_bypass",
            "fail" if len(rows) > allowed else "pass",
            f"{len(rows):,} dirty writes to a majority table were accepted by a minority",
            severity=limit.severity if limit is not None else "warn",
            value=float(len(rows)),
            limit=allowed,
            unit="operations",
            subject=f"{table.name}, {cut.name}",
            evidence=tuple(facts.operation(int(row)) for row in rows[:EVIDENCE_LIMIT]),
        )
    if not told:
        yield _nothing("dirty_bypass", facts, cases)


def dual_majority(facts: Facts) -> Iterator[Finding]:
    """One key of a majority table updated by committed transactions on two sides of one cut."""
    cases = _cases(facts)
    told = False
    for cut, table in cases:
        ops = facts.operations
        updates = _while_parted(facts, cut)
        updates &= np.logical_or.reduce([ops.of_kind("update", table=table.name, context=c) for c in TRANSACTIONS])
        if not updates.any():
            continue
        told = True
        if facts.overdue(cut):
            yield _unseen("dual_majority", facts, cut, table)
            continue
        updates &= ops.outcome == OK
        on_side = [updates & facts.on(side) for side in cut.sides]
        keys = [np.unique(ops.key[mask]) for mask in on_side]
        shared = np.unique(np.concatenate([np.intersect1d(a, b, assume_unique=True) for a, b in combinations(keys, 2)]))
        evidence = []
        for key in shared[: EVIDENCE_LIMIT // 2]:
            first = [np.flatnonzero(mask & (ops.key == key))[:1] for mask in on_side]
            evidence += [facts.operation(int(row)) for rows in first for row in rows]
        yield Finding(
            "dual_majority",
            "fail" if len(shared) else "pass",
            f"{len(shared):,} keys were committed on both sides" if len(shared) else "no key on both sides",
            severity=facts.severity("dual_majority"),
            value=float(len(shared)),
            limit=0.0,
            unit="keys",
            subject=f"{table.name}, {cut.name}",
            evidence=tuple(evidence),
        )
    if not told:
        yield _nothing("dual_majority", facts, cases)
