"""mesh_complete and view_agreement: who the nodes believe to be there after quiesce.

Neither proves anything about data (copies can differ while all views agree); replica_divergence does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.checkers.facts import Facts
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding


def mesh_complete(facts: Facts) -> Iterator[Finding]:
    """Every node is connected with every other node of the cluster."""
    severity = facts.severity("mesh_complete")
    if len(facts.nodes) < 2:
        yield Finding("mesh_complete", "not_applicable", "one node", severity=severity)
        return
    final = facts.history.final
    views = {facts.node(view.node): view for view in final.views if view.answered} if final is not None else {}
    missing = [
        {"node": node, "not connected with": sorted(apart)}
        for node, view in views.items()
        if (apart := set(facts.nodes) - {node} - {facts.node(peer) for peer in view.connected})
    ]
    yield _held(facts, "mesh_complete", missing, views, "every node is connected with every other")


def view_agreement(facts: Facts) -> Iterator[Finding]:
    """``running_db_nodes`` and each table's ``where_to_write`` are the same, and complete, on every node."""
    severity = facts.severity("view_agreement")
    if not facts.plan.mnesia:
        yield Finding("view_agreement", "not_applicable", "no Mnesia", severity=severity)
        return
    final = facts.history.final
    views = {facts.node(view.node): view for view in final.views if view.answered} if final is not None else {}
    wrong: list[dict[str, Any]] = []
    for node, view in views.items():
        running = {facts.node(name) for name in view.running_db_nodes}
        if running != set(facts.nodes):
            wrong.append({"node": node, "running_db_nodes": sorted(running), "expected": list(facts.nodes)})
        for table in facts.plan.tables:  # one that the node does not know is written nowhere
            written = {facts.node(name) for name in view.where_to_write.get(table.name, ())}
            if written != set(table.copies):
                wrong.append({"node": node, "table": table.name, "where_to_write": sorted(written),
                              "expected": sorted(table.copies)})  # fmt: skip
    wrong.extend(_observed(facts, views))
    yield _held(facts, "view_agreement", wrong, views, "all nodes name the same running_db_nodes and copies")


def _observed(facts: Facts, views: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A release's own tables: where their copies belong is not ours to say, only that all say the same."""
    for table in facts.plan.observed_tables:
        said = {
            node: sorted(facts.node(name) for name in view.where_to_write.get(table, ()))
            for node, view in views.items()
        }
        if len({tuple(nodes) for nodes in said.values()}) > 1:
            yield {"table": table, "where_to_write": said}


def _held(facts: Facts, check: str, wrong: list[dict[str, Any]], views: dict[str, Any], good: str) -> Finding:
    severity = facts.severity(check)
    silent = sorted(set(facts.nodes) - set(views))
    if wrong:
        nodes = sorted({item["node"] for item in wrong if "node" in item})
        summary = f"not so after quiesce, as seen by {', '.join(nodes)}" if nodes else "the nodes disagree"
        return Finding(check, "fail", summary, severity=severity, value=float(len(wrong)), limit=0.0,
                       evidence=tuple(wrong[:EVIDENCE_LIMIT]))  # fmt: skip
    if silent:
        return Finding(check, "unknown", f"{', '.join(silent)} did not answer after quiesce", severity=severity)
    return Finding(check, "pass", good, severity=severity, value=0.0, limit=0.0)
