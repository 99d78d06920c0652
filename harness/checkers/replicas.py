"""replica_divergence and unreported_divergence: do the copies of a table hold the same, and was it said if not?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from harness.checkers.facts import Facts
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding
from harness.history import ReplicaState


def replica_divergence(facts: Facts) -> Iterator[Finding]:
    """Per table: one digest on every node's own copy after quiesce."""
    tables = _tables(facts)
    if not tables:
        yield Finding("replica_divergence", "not_applicable", "no Mnesia table to compare")
    for table in tables:
        yield _compared(facts, table)


def _tables(facts: Facts) -> tuple[str, ...]:
    return (*(table.name for table in facts.plan.tables), *facts.plan.observed_tables)


def _compared(facts: Facts, table: str) -> Finding:
    planned = facts.table(table)
    copies = facts.replicas(table)
    if (planned is not None and len(planned.copies) < 2) or (planned is None and len(copies) == 1):
        return Finding("replica_divergence", "not_applicable", "the table has one copy", subject=table)
    loaded = [copy for copy in copies if copy.serves_reads]
    groups = _groups(facts, loaded)
    if len(groups) > 1:
        sizes = ", ".join(f"{'+'.join(nodes)}: {copy.count:,} rows" for nodes, copy in ((n, c[0]) for n, c in groups))
        return Finding(
            "replica_divergence",
            "fail",
            f"{len(groups)} different contents on {len(loaded)} copies ({sizes})",
            value=float(len(groups) - 1),
            limit=0.0,
            unit="differing copies",
            subject=table,
            evidence=tuple(_differences(groups)),
        )
    blind = [*facts.unread(table), *(facts.node(c.node) for c in copies if not c.serves_reads)]
    if facts.history.final is None or blind or not loaded:
        what = f"the copy on {', '.join(sorted(set(blind)))}" if blind else "no copy"
        said = f"{what} {'could not be read' if blind else 'was read'}"
        return Finding("replica_divergence", "unknown", said, subject=table)
    return Finding(
        "replica_divergence",
        "pass",
        f"{len(loaded)} copies hold the same {loaded[0].count:,} rows",
        value=0.0,
        limit=0.0,
        unit="differing copies",
        subject=table,
    )


def _groups(facts: Facts, copies: Sequence[ReplicaState]) -> list[tuple[list[str], list[ReplicaState]]]:
    """Copies of equal content together, the largest group first."""
    by_content: dict[tuple[int, str], list[ReplicaState]] = {}
    for copy in copies:
        by_content.setdefault((copy.count, copy.digest), []).append(copy)
    ordered = sorted(by_content.values(), key=lambda group: -len(group))
    return [(sorted(facts.node(copy.node) for copy in group), group) for group in ordered]


def _differences(groups: Sequence[tuple[list[str], list[ReplicaState]]]) -> Iterator[dict[str, Any]]:
    for nodes, copies in groups:
        yield {"nodes": nodes, "rows": copies[0].count, "digest": copies[0].digest}
    (reference_nodes, (reference, *_)), *others = groups
    room = EVIDENCE_LIMIT - len(groups)
    for nodes, (copy, *_) in others:
        if copy.ids is not None and reference.ids is not None:
            only_here = np.setdiff1d(copy.ids, reference.ids, assume_unique=True)
            only_there = np.setdiff1d(reference.ids, copy.ids, assume_unique=True)
            yield {
                "between": f"{'+'.join(nodes)} and {'+'.join(reference_nodes)}",
                f"only on {'+'.join(nodes)}": _some(only_here),
                f"only on {'+'.join(reference_nodes)}": _some(only_there),
            }
        differing = (
            {"key": key, "+".join(nodes): list(mine)[-5:], "+".join(reference_nodes): list(theirs)[-5:]}
            for key in sorted(copy.updates.keys() | reference.updates.keys())
            if list(mine := copy.updates.get(key, ())) != list(theirs := reference.updates.get(key, ()))
        )
        yield from islice(differing, max(room, 1))


def _some(ids: Any) -> dict[str, Any]:
    return {"count": len(ids), "ids": [int(i) for i in ids[:EVIDENCE_LIMIT]]}


def unreported_divergence(facts: Facts) -> Iterator[Finding]:
    """Copies differ and no node was ever told (``inconsistent_database``): nobody would have known."""
    findings = list(replica_divergence(facts))
    failed = [finding for finding in findings if finding.outcome == "fail"]
    if all(finding.outcome == "not_applicable" for finding in findings):
        yield Finding("unreported_divergence", "not_applicable", "no copies to compare")
    elif not failed:
        unknown = [finding for finding in findings if finding.outcome == "unknown"]
        if unknown:
            yield Finding("unreported_divergence", "unknown", "not every copy could be compared")
        else:
            yield Finding("unreported_divergence", "pass", "no copies differ", value=0.0, limit=0.0)
    for finding in failed:
        yield _reported(facts, finding.subject)


def _reported(facts: Facts, table: str) -> Finding:
    holders = {facts.node(copy.node) for copy in facts.replicas(table)}
    told = [
        event
        for event in facts.history.observations("inconsistent_database")
        if {facts.node(event.node), facts.node(event.peer)} & holders
    ]
    blind = facts.unwatched & holders
    if not told and blind:
        said = f"copies differ, and {', '.join(sorted(blind))} may have reported it while nobody watched"
        return Finding("unreported_divergence", "unknown", said, subject=table)
    if not told:
        return Finding(
            "unreported_divergence",
            "fail",
            "copies differ and no node reported inconsistent_database: nothing in the system says so",
            value=1.0,
            limit=0.0,
            subject=table,
        )
    evidence = tuple(
        {
            "node": facts.node(event.node),
            "about": facts.node(event.peer),
            "when": facts.timeline.tell(event.time),
            **event.detail,
        }
        for event in told[:EVIDENCE_LIMIT]
    )
    summary = f"the difference was reported: {len(told)} inconsistent_database events"
    return Finding("unreported_divergence", "pass", summary, value=0.0, limit=0.0, subject=table, evidence=evidence)
