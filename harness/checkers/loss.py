"""acked_lost: acknowledged and gone. phantom: not acknowledged and there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.checkers.facts import WRITES, Facts
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding, Outcome
from harness.history import FAIL, OK, ReplicaState

Ids = npt.NDArray[np.uint64]
_NO_IDS: Ids = np.empty(0, dtype=np.uint64)


def present(wanted: Ids, sorted_ids: Ids) -> npt.NDArray[np.bool_]:
    """Mask over ``wanted``: which of them are in the sorted ``sorted_ids``."""
    if not len(sorted_ids):
        return np.zeros(len(wanted), dtype=np.bool_)
    at = np.searchsorted(sorted_ids, wanted)
    at[at == len(sorted_ids)] = 0
    found: npt.NDArray[np.bool_] = sorted_ids[at] == wanted
    return found


def acked_lost(facts: Facts) -> Iterator[Finding]:
    """A write or update answered ok that a copy which serves reads does not hold after quiesce."""
    if not facts.writers:
        yield Finding("acked_lost", "not_applicable", "nothing writes to Mnesia")
    for table, context in facts.writers:
        yield _lost_in(facts, table, context)


def _lost_in(facts: Facts, table: str, context: str) -> Finding:
    subject = f"{table}, {context}"
    final = facts.history.final
    rows = np.flatnonzero(facts.acknowledged(table, context))
    if not len(rows):
        return Finding("acked_lost", "not_applicable", "no write was acknowledged", subject=subject)
    if final is None:
        return Finding("acked_lost", "unknown", "no copy was read after quiesce", subject=subject)
    ids = facts.operations.id[rows]
    serving = [(r, r.ids) for r in facts.replicas(table) if r.serves_reads and r.ids is not None]
    holds = [present(ids, held) for _, held in serving]
    discarded = present(ids, final.discarded.get(table, _NO_IDS))
    anywhere = np.logical_or.reduce(holds) if holds else np.zeros(len(ids), dtype=np.bool_)
    missing = ~np.logical_and.reduce(holds) if holds else np.zeros(len(ids), dtype=np.bool_)
    lost = missing | (discarded & ~anywhere)
    unread = _not_readable(facts, table, [r for r, _ in serving])
    count = int(lost.sum())
    everywhere = int((lost & ~anywhere).sum())
    outcome: Outcome = "fail" if count else "unknown" if unread or not serving else "pass"
    return Finding(
        "acked_lost",
        outcome,
        _loss_in_words(len(ids), count, everywhere, int((lost & discarded).sum()), unread),
        value=float(count),
        limit=0.0,
        unit="operations",
        subject=subject,
        evidence=tuple(_lost_operations(facts, rows, lost, anywhere, discarded, serving)),
    )


def _not_readable(facts: Facts, table: str, serving: Sequence[ReplicaState]) -> tuple[str, ...]:
    planned = facts.table(table)
    copies = set(planned.copies) if planned is not None else {facts.node(r.node) for r in facts.replicas(table)}
    return tuple(sorted(copies - {facts.node(replica.node) for replica in serving}))


def _loss_in_words(acked: int, lost: int, everywhere: int, discarded: int, unread: Sequence[str]) -> str:
    blind = f"; the copy on {', '.join(unread)} could not be read" if unread else ""
    if not lost:
        return f"all {acked:,} acknowledged writes are on every copy that was read{blind}"
    parts = []
    if everywhere:
        parts.append(f"{everywhere:,} from every copy")
    if lost - everywhere:
        parts.append(f"{lost - everywhere:,} from some copies")
    by_recovery = f", {discarded:,} of them discarded by recovery" if discarded else ""
    return f"{lost:,} of {acked:,} acknowledged writes are gone: {' and '.join(parts)}{by_recovery}{blind}"


def _lost_operations(
    facts: Facts,
    rows: npt.NDArray[np.intp],
    lost: npt.NDArray[np.bool_],
    anywhere: npt.NDArray[np.bool_],
    discarded: npt.NDArray[np.bool_],
    serving: Sequence[tuple[ReplicaState, Ids]],
) -> Iterator[dict[str, Any]]:
    """The first few, those that are gone everywhere before the others."""
    picked = np.flatnonzero(lost)
    order = np.lexsort((facts.operations.start[rows[picked]], anywhere[picked]))
    for at in picked[order][:EVIDENCE_LIMIT]:
        told = facts.operation(int(rows[at]))
        own = facts.operations.id[rows[at] : rows[at] + 1]
        told["held_by"] = [facts.node(r.node) for r, ids in serving if present(own, ids)[0]]
        told["missing_on"] = [facts.node(r.node) for r, ids in serving if not present(own, ids)[0]]
        if discarded[at]:
            told["discarded by recovery"] = True
        yield told


def phantom(facts: Facts) -> Iterator[Finding]:
    """Rows whose write was never acknowledged. Unknown outcomes may be there: told, no failure without a limit."""
    final = facts.history.final
    if not facts.writers:
        yield Finding("phantom", "not_applicable", "nothing writes to Mnesia", severity="warn")
        return
    for table in sorted({table for table, _ in facts.writers}):
        held = [r.ids for r in facts.replicas(table) if r.ids is not None]
        if final is None or not held:
            yield Finding("phantom", "unknown", "no copy was read", severity="warn", subject=table)
            continue
        yield _phantoms_in(facts, table, np.unique(np.concatenate(held)))


def _phantoms_in(facts: Facts, table: str, there: Ids) -> Finding:
    ops = facts.operations
    mine = ops.of_kind(*WRITES, table=table)
    written = np.flatnonzero(mine & (ops.outcome != OK))
    rows = written[present(ops.id[written], there)]
    refused = rows[ops.outcome[rows] == FAIL]
    nameless = there[~present(there, np.sort(ops.id[mine]))]
    summary = f"{len(rows) - len(refused):,} writes of unknown outcome took effect"
    evidence = [facts.operation(int(row)) for row in (*refused, *rows)[:EVIDENCE_LIMIT]]
    if len(refused):
        summary += f"; {len(refused):,} writes that were answered as failed are there all the same"
    if len(nameless) and facts.plan.load.locustfile is None:
        # an invocation is on disk before it is sent: a row nobody wrote means that part of the history is missing
        summary += f"; {len(nameless):,} rows come from no recorded operation, so the history is incomplete"
        strangers = tuple({"id": int(i), "op": "not in the history"} for i in nameless[:EVIDENCE_LIMIT])
        return Finding(
            "phantom",
            "unknown",
            summary,
            value=float(len(nameless)),
            unit="operations",
            subject=table,
            evidence=strangers,
        )
    limit = facts.expectation("phantom")
    allowed = limit.limit if limit is not None else None
    return Finding(
        "phantom",
        "fail" if len(refused) or (allowed is not None and len(rows) > allowed) else "pass",
        summary,
        severity="warn",
        value=float(len(rows)),
        limit=allowed,
        unit="operations",
        subject=table,
        evidence=tuple(evidence),
    )
