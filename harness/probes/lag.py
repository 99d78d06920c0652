"""Replication lag, measured inside the nodes and joined here.

Every table of the plan has a mirror ``harness_lag_<table>`` with the same placement. On each node that writes the
table one writer per access context counts up a row of its own; on each replica a watcher notes when a number became
readable in the node's own copy. Lag is that time minus the time of the writer's acknowledgement; both are
CLOCK_MONOTONIC of one host.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.cluster.node import Node
from harness.errors import EnvironmentProblem
from harness.etf import Atom, Term
from harness.history import JournalEvent, Mark
from harness.metrics import Figures
from harness.probes.backlog import Backlog
from harness.probes.install import MODULE
from harness.probes.view import Names, View
from harness.scenario.plan import Plan, PlannedTable
from harness.segments import LAG_SAMPLE, Segment
from harness.store import RunDir

PREFIX = "harness_lag_"
TOTAL_RATE = 20.0  # writes per second of all writers together: probing must not become the load
_FASTEST = 5.0  # ... and of one writer
_KEPT = 4096  # numbers of one writer that wait for their other half; the oldest go first
_PACK = struct.Struct("<qqQHHHH").pack
assert struct.calcsize("<qqQHHHH") == LAG_SAMPLE.itemsize

Writer = tuple[str, str, str]  # table, source, context


@dataclass(slots=True)
class _Halves:
    """What is known of one writer's numbers: when each was acknowledged, and when each replica could read it."""

    acks: dict[int, int] = field(default_factory=dict)
    seen: dict[str, dict[int, int]] = field(default_factory=dict)


def lag_contexts(plan: Plan) -> dict[tuple[str, str], tuple[str, ...]]:
    """(table, source) -> the contexts its operations write in. A table nobody writes is probed with transactions."""
    contexts: dict[tuple[str, str], set[str]] = {}
    for table in plan.tables:
        operations = [o for o in plan.load.operations if o.table == table.name and o.kind in ("write", "update")]
        if operations:
            for operation in operations:
                for source in operation.on:
                    contexts.setdefault((table.name, source), set()).add(operation.context or "transaction")
        else:
            for source in table.copies:
                contexts[table.name, source] = {"transaction"}
    return {key: tuple(sorted(found)) for key, found in contexts.items()}


class LagProbe:
    """The writers, the watchers and what they found. ``poll`` is called by one thread per node."""

    def __init__(self, plan: Plan, rundir: RunDir, figures: Figures, emit: Callable[[JournalEvent], None]) -> None:
        self._plan = plan
        self._figures = figures
        self._emit = emit
        self._dropped: dict[str, tuple[int, int]] = {}  # node -> samples it dropped, and how many were told
        self._names = Names(plan)
        self._node_names = {node.name: Atom(node.node_name) for node in plan.nodes}
        self._contexts = lag_contexts(plan)
        writers = sum(len(found) for found in self._contexts.values())
        self._rate = min(_FASTEST, TOTAL_RATE / writers) if writers else 0.0
        self._segment = Segment(rundir.history / "lag.seg", LAG_SAMPLE)
        self._lock = threading.Lock()
        self._halves: dict[Writer, _Halves] = {}
        self._armed: set[str] = set()
        self._closed = False
        self.backlog = Backlog(plan, figures, emit)

    # --- set up ---

    def create_tables(self, nodes: dict[str, Node], timeout: float = 20.0) -> None:
        """Make the mirror tables; those that exist stay. Raises DistError, EnvironmentProblem."""
        for table in self._plan.tables:
            node = nodes[next(iter(table.copies))]
            args: list[Term] = [Atom(PREFIX + table.name), self._options(table)]
            answer = node.rpc(MODULE, "ensure_table", args, timeout)
            if answer != "ok":
                raise EnvironmentProblem(f"create {PREFIX}{table.name}", repr(answer), node=node.name)

    def _options(self, table: PlannedTable) -> list[Term]:
        options: list[Term] = []
        for storage in sorted(set(table.copies.values())):
            holders = [self._node_names[name] for name, kept in table.copies.items() if kept == storage]
            options.append((Atom(storage), holders))
        return [*options, (Atom("majority"), table.majority)]

    def arm(self, node: Node, view: View, timeout: float) -> None:
        """Start the node's watchers and writers once its mirror tables are readable. Idempotent. Raises DistError."""
        mirrors = [table for table in self._plan.tables if node.name in table.copies]
        sources = {table: found for (table, source), found in self._contexts.items() if source == node.name}
        wanted = {table.name for table in mirrors} | set(sources)
        if any(not view.serves(PREFIX + table) for table in wanted):
            return
        watched: list[Term] = [(Atom(PREFIX + table.name), Atom(table.name)) for table in mirrors]
        node.rpc(MODULE, "lag_watch", [watched], timeout)
        for name, contexts in sources.items():
            order: dict[Term, Term] = {
                Atom("table"): Atom(PREFIX + name),
                Atom("contexts"): [Atom(context) for context in contexts],
                Atom("rate"): self._rate,
            }
            node.rpc(MODULE, "lag_write", [order], timeout)
        self._armed.add(node.name)

    def disarm(self, node: str) -> None:
        """The node's probe was lost: numbers that wait for its other half never get it."""
        self._armed.discard(node)
        with self._lock:
            for (_, source, _), halves in self._halves.items():
                if source == node:
                    halves.acks.clear()
                    halves.seen.clear()

    # --- drained ---

    def poll(self, node: Node, view: View, timeout: float) -> None:
        """Take what the node recorded. Raises DistError; OSError when the disk is full."""
        if not self._plan.tables:
            return
        if node.name not in self._armed:
            self.arm(node, view, timeout)
            return
        taken = node.rpc(MODULE, "lag_take", (), timeout)
        with self._lock:
            if self._closed:
                return
            for table, context, seq, _sent, acked in taken["acks"]:
                self._acked((_reported(table), node.name, str(context)), seq, acked)
            for table, source, context, seq, at in taken["seen"]:
                self._seen((_reported(table), self._names.short(source), str(context)), node.name, seq, at)
            self._segment.flush()
        self._lost(node.name, taken["dropped"])
        written = {(_reported(t), str(context)): seq for t, context, seq in taken["written"]}
        applied = {(_reported(t), self._names.short(s), str(context)): seq for t, s, context, seq in taken["applied"]}
        self.backlog.update(node.name, taken["now"], written, applied)

    def _lost(self, node: str, count: int) -> None:
        """Tell of samples a node had no room for: the first ones, then whenever there are twice as many."""
        total, told = self._dropped.get(node, (0, 0))
        total += count
        if total and total >= 2 * told:
            self._emit(Mark(time.monotonic_ns(), "probe_dropped", {"node": node, "what": "lag", "count": total - told}))
            told = total
        self._dropped[node] = total, told

    def _acked(self, writer: Writer, seq: int, acked: int) -> None:
        halves = self._halves.setdefault(writer, _Halves())
        _remember(halves.acks, seq, acked)
        for replica, seen in halves.seen.items():
            if (at := seen.pop(seq, None)) is not None:
                self._sample(writer, replica, seq, acked, at)

    def _seen(self, writer: Writer, replica: str, seq: int, at: int) -> None:
        if writer[1] == replica:
            return
        halves = self._halves.setdefault(writer, _Halves())
        acked = halves.acks.get(seq)
        if acked is None:
            _remember(halves.seen.setdefault(replica, {}), seq, at)
        else:
            self._sample(writer, replica, seq, acked, at)

    def _sample(self, writer: Writer, replica: str, seq: int, acked: int, at: int) -> None:
        table, source, context = writer
        words = [self._segment.words.number(word) for word in (table, source, replica, context)]
        self._segment.append(_PACK(at, at - acked, seq, *words))
        self._figures.observe_lag(table, source, replica, context, at - acked)

    def close(self) -> None:
        """No more samples; those taken are on disk. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._segment.close()


def _reported(probe_table: Term) -> str:
    return str(probe_table).removeprefix(PREFIX)


def _remember(numbers: dict[int, int], seq: int, at: int) -> None:
    numbers[seq] = at
    while len(numbers) > _KEPT:
        del numbers[next(iter(numbers))]
