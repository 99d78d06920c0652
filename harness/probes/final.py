"""What the nodes hold at the end: every replica's own copy, read from the node it lies on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.cluster.cluster import Cluster
from harness.cluster.copies import Ids, read_copy
from harness.cluster.each import on_each
from harness.cluster.modules import Modules
from harness.cluster.node import Node
from harness.errors import HarnessError, RemoteError
from harness.etf import Atom, same_term
from harness.history import FinalState, NodeView, ReplicaState
from harness.probes.install import MODULE, ensure_started
from harness.probes.steady import look
from harness.probes.view import View
from harness.scenario.plan import ExpectedAnswer, Plan
from harness.scenario.values import from_term, module_name, to_term

_ANSWER = 5.0  # seconds for a small answer
_BATCH = 30.0  # ... for one batch of ids, or the digest of a large table


@dataclass(slots=True)
class _Read:
    """What came of one node."""

    replicas: list[ReplicaState] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_final_state(cluster: Cluster, plan: Plan, discarded: Mapping[str, Ids]) -> FinalState:
    """Every copy, view and expected answer. Never raises for a node: what could not be read is in ``problems``."""
    nodes = cluster.nodes
    on_each(nodes, lambda name: _revive(nodes[name], cluster.probe_modules))
    views = look(cluster, plan)
    read = on_each(nodes, lambda name: _read_node(nodes[name], plan, views[name]))
    answers = tuple(_answer(cluster, plan, expected) for expected in plan.expected_answers)
    return FinalState(
        time=time.monotonic_ns(),
        replicas=tuple(replica for one in read.values() for replica in one.replicas),
        views=tuple(_node_view(name, view) for name, view in views.items()),
        problems=tuple(problem for one in read.values() for problem in one.problems),
        discarded=dict(discarded),
        rpc=answers,
    )


def _revive(node: Node, modules: Callable[[], Modules]) -> None:
    """A node that was started again shortly before the end has no probe yet."""
    try:
        ensure_started(node, modules, _ANSWER)
    except HarnessError:
        return  # told by the view that cannot be read


def _read_node(node: Node, plan: Plan, view: View | None) -> _Read:
    read = _Read()
    ours = [table.name for table in plan.tables if node.name in table.copies]
    observed = [t for t in plan.observed_tables if view is not None and _holds(view, t)]
    if view is None:
        read.problems.append(f"{node.name}: does not answer; its copies of {', '.join(ours) or 'nothing'} are unread")
        return read
    for table in (*ours, *observed):
        try:
            read.replicas.append(_read_copy(node, view, table, ours=table in ours))
        except HarnessError as error:
            read.problems.append(f"{node.name}: table {table}: {error.cause or error}")
    return read


def _holds(view: View, table: str) -> bool:
    return table in view.tables and view.tables[table].storage.endswith("_copies")


def _read_copy(node: Node, view: View, table: str, *, ours: bool) -> ReplicaState:
    counted = node.rpc(MODULE, "digest", [Atom(table)], _BATCH)
    match counted:
        case (int(count), bytes(digest)):
            pass
        case _:
            raise HarnessError("read digest", f"has no copy there: {counted!r:.80}", node=node.name)
    seen = view.tables.get(table)
    return ReplicaState(
        node=node.name,
        table=table,
        count=count,
        digest=digest.hex(),
        serves_reads=view.serves(table) and seen is not None and seen.readable == node.name,
        ids=read_copy(node, table, _BATCH) if ours else None,
        updates=_read_updates(node, table) if ours else {},
    )


def _read_updates(node: Node, table: str) -> dict[int, tuple[int, ...]]:
    answer = node.rpc(MODULE, "updates", [Atom(table)], _BATCH)
    if not isinstance(answer, list):
        raise HarnessError("read updates", f"cannot be read: {answer!r:.80}", node=node.name)
    return {key: tuple(ids) for key, ids in answer if isinstance(key, int)}


def _node_view(name: str, view: View | None) -> NodeView:
    if view is None:
        return NodeView(name, answered=False)
    written = {table: seen.where_to_write for table, seen in view.tables.items()}
    return NodeView(name, True, view.connected, view.running_db_nodes, written)


# --- expect: rpc --------------------------------------------------------------------------------------------------


def _answer(cluster: Cluster, plan: Plan, expected: ExpectedAnswer) -> dict[str, Any]:
    """One expectation's answers by node. ``outcome`` ok: all of the nodes asked (of ``on: any``: one) gave the right
    one; fail: answers that were given prove the contrary; unknown: some are missing that could tell."""
    every = tuple(node.name for node in plan.nodes)
    asked = every if isinstance(expected.on, str) else expected.on
    wanted = to_term(expected.returns)

    def ask(name: str) -> tuple[str, Any]:
        call = expected.call
        args = [to_term(arg) for arg in call.args]
        try:
            answer = cluster.nodes[name].rpc(module_name(call.module), call.function, args, call.timeout)
        except HarnessError as error:  # only what the call itself raised there is an answer
            raised = isinstance(error, RemoteError) and error.klass in ("error", "exit", "throw")
            return "fail" if raised else "unknown", {"error": str(error)}
        return "ok" if same_term(answer, wanted) else "fail", from_term(answer)

    answers = on_each(asked, ask)
    outcomes = {outcome for outcome, _ in answers.values()}
    ranked = ("ok", "unknown", "fail") if expected.on == "any" else ("fail", "unknown", "ok")
    outcome = next((one for one in ranked if one in outcomes), "unknown")
    return {
        "call": f"{expected.call.module}:{expected.call.function}/{len(expected.call.args)}",
        "node": ", ".join(asked),
        "on": expected.on if isinstance(expected.on, str) else list(expected.on),
        "returned": {name: answer for name, (_, answer) in answers.items()},
        "expected": expected.returns,
        "outcome": outcome,
        "ok": outcome == "ok",
    }
