"""Synthetic histories: a run told in seconds from full load, as a History or as a run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from plans import three_nodes

from harness.history import (
    INVOKE,
    OK,
    OUTCOMES,
    UNKNOWN,
    FaultRecord,
    FinalState,
    History,
    JournalEvent,
    Mark,
    NodeView,
    Observation,
    Operation,
    ReplicaState,
)
from harness.history_files import load_history, write_final
from harness.scenario.plan import Plan
from harness.segments import LAG_SAMPLE, Segment, pack_record
from harness.store import RunDir

ORIGIN = 5_000_000_000_000
CODES = {name: code for code, name in OUTCOMES.items()}


def ns(seconds: float) -> int:
    """Seconds from full load -> the run's clock."""
    return ORIGIN + round(seconds * 1e9)


class HistoryBuilder:
    """Everything is as it should be unless told: each ok write is on every copy, each node sees every other."""

    def __init__(self, plan: Plan | None = None, *, duration: float = 60.0) -> None:
        self.plan = plan if plan is not None else three_nodes(duration=duration)
        self.nodes = tuple(node.name for node in self.plan.nodes)
        self.events: list[JournalEvent] = []
        self.load: Mapping[str, Any] = {"offered": {}, "late": 0, "dropped": {}, "workers": {}}
        self.problems: tuple[str, ...] = ()
        self.discarded: dict[str, list[int]] = {}
        self.answers: tuple[Mapping[str, Any], ...] = ()
        self.unanswered: set[str] = set()
        self.not_connected: set[tuple[str, str]] = set()
        self.not_running: set[tuple[str, str]] = set()
        self.where_to_write: dict[str, tuple[str, ...]] = {}
        self.unknown_tables: set[tuple[str, str]] = set()
        self.not_serving: set[tuple[str, str]] = set()
        self.unread: set[tuple[str, str]] = set()
        self.without_final = False
        self.lag: list[tuple[float, float, int, str, str, str, str]] = []
        self._rows: list[tuple[Operation, str, int, int, int, int, int, int, str]] = []
        self._missing: dict[str, set[int]] = {}
        self._extra: dict[tuple[str, str], set[int]] = {}
        self.phase("load", 0.0)
        self.phase("stopping", self.plan.duration)
        self.phase("judging", self.plan.duration + 6)

    # --- told ---

    def phase(self, name: str, at: float) -> None:
        self.events.append(Mark(ns(at), "phase", {"phase": name}))

    def mark(self, name: str, at: float, **detail: Any) -> None:
        self.events.append(Mark(ns(at), name, detail))

    def op(
        self,
        at: float,
        kind: str = "write",
        *,
        target: str = "n1",
        context: str = "transaction",
        table: str = "kv",
        took: float | None = 0.002,
        outcome: str = "ok",
        key: int | None = None,
        reason: str = "",
        late: float = 0.0,
    ) -> int:
        """One operation due at ``at``, answered after ``took`` (None: never); returns its id."""
        word = (
            Operation("rpc", "rpc") if kind == "rpc" else Operation(f"{kind} {table} {context}", kind, table, context)
        )
        ident = len(self._rows) + 1
        row_key = key if key is not None else ident if kind == "write" else -1
        start = ns(at + late)
        end = -1 if took is None else start + round(took * 1e9)
        code = UNKNOWN if took is None else CODES[outcome]
        self._rows.append((word, target, code, ident, row_key, ns(at), start, end, reason))
        return ident

    def steady(
        self, start: float, end: float, rate: float = 50.0, *, on: Iterable[str] | None = None, **more: Any
    ) -> list[int]:
        """Operations at a constant rate, node after node."""
        nodes = tuple(on) if on is not None else self.nodes
        count = int((end - start) * rate)
        return [self.op(start + i / rate, target=nodes[i % len(nodes)], **more) for i in range(count)]

    def seen(self, at: float, node: str, event: str, peer: str = "", **detail: Any) -> None:
        self.events.append(Observation(ns(at), node, event, f"{peer}@{peer}" if peer else "", detail))

    def fault(self, step: str, kind: str, targets: tuple[str, ...], **stages: float | None) -> None:
        """``injecting=10, bit=10.1, healing=30, healed=30.1``: the stages that were journalled."""
        for stage, at in stages.items():
            if at is not None:
                self.events.append(FaultRecord(ns(at), step, kind, stage, targets))

    def cut(
        self,
        at: float = 10.0,
        heal: float = 30.0,
        detected: float | None = 15.0,
        recovered: float | None = 33.0,
        step: str = "s1",
    ) -> None:
        """n1 | n2 n3 from ``at`` to ``heal``; noticed by all at ``detected``; Mnesia together at ``recovered``"""
        self.fault(step, "partition", self.nodes, injecting=at, bit=at + 0.1, healing=heal, healed=heal + 0.1)
        pairs = [(a, b) for a, b in (("n1", "n2"), ("n1", "n3")) for a, b in ((a, b), (b, a))]
        if detected is None:
            return
        for index, (node, peer) in enumerate(pairs):
            self.seen(detected - 0.1 * (3 - index), node, "nodedown", peer, reason="net_tick_timeout")
            self.seen(detected - 0.1 * (3 - index) + 0.001, node, "mnesia_down", peer)
            self.seen(heal + 0.3 + 0.01 * index, node, "nodeup", peer)
            self.seen(
                heal + 0.31 + 0.01 * index, node, "inconsistent_database", peer, context="running_partitioned_network"
            )
            if recovered is not None:
                self.seen(recovered, node, "mnesia_up", peer)

    def lose(self, ident: int, *nodes: str) -> None:
        """This acknowledged write is absent from these nodes' copies (none named: from all)."""
        for node in nodes or self.nodes:
            self._missing.setdefault(node, set()).add(ident)

    def hold(self, ident: int, *nodes: str, table: str = "kv") -> None:
        """These copies hold the id although nothing says they should."""
        for node in nodes or self.nodes:
            self._extra.setdefault((table, node), set()).add(ident)

    # --- made ---

    def _replica(self, table: str, node: str) -> ReplicaState:
        mine = {
            row[3]
            for row in self._rows
            if row[0].table == table and row[2] == OK and row[0].kind in ("write", "update")
        }
        held = (mine - self._missing.get(node, set())) | self._extra.get((table, node), set())
        updates: dict[int, list[int]] = {}
        for word, _, _, ident, key, *_ in self._rows:
            if ident in held and word.kind == "update" and word.table == table:
                updates.setdefault(key, []).append(ident)
        ids = np.array(sorted(held), dtype=np.uint64)
        digest = hashlib.md5(ids.tobytes() + repr(sorted(updates.items())).encode()).hexdigest()
        return ReplicaState(node, table, len(ids), digest, (table, node) not in self.not_serving, ids, updates)

    def _view(self, node: str) -> NodeView:
        if node in self.unanswered:
            return NodeView(node, answered=False)
        apart = {b for a, b in self.not_connected if a == node}
        silent = {b for a, b in self.not_running if a == node}
        return NodeView(
            node,
            answered=True,
            connected=tuple(f"{n}@{n}" for n in self.nodes if n != node and n not in apart),
            running_db_nodes=tuple(f"{n}@{n}" for n in self.nodes if n not in silent) if self.plan.mnesia else (),
            where_to_write={
                t.name: tuple(f"{n}@{n}" for n in self.where_to_write.get(node, tuple(t.copies)))
                for t in self.plan.tables
                if (t.name, node) not in self.unknown_tables
            },
        )

    def final(self) -> FinalState | None:
        if self.without_final:
            return None
        return FinalState(
            time=ns(self.plan.duration + 5),
            replicas=tuple(
                self._replica(table.name, node)
                for table in self.plan.tables
                for node in table.copies
                if (table.name, node) not in self.unread
            ),
            views=tuple(self._view(node) for node in self.nodes),
            problems=self.problems,
            discarded={t: np.array(sorted(ids), dtype=np.uint64) for t, ids in self.discarded.items()},
            rpc=self.answers,
        )

    def write(self, out: Path) -> RunDir:
        """The run as a folder, as a finished run leaves it."""
        rundir = RunDir.create(out, self.plan)
        for event in self.events:
            rundir.journal(event)
        segment = Segment(rundir.segment("w1"))
        for word, target, code, ident, key, intended, start, end, reason in self._rows:
            numbers = (segment.words.number(word), segment.words.number(target))
            segment.append(pack_record(INVOKE, *numbers, 0, ident, ident, key, intended, start, -1))
            if end >= 0:
                why = segment.words.number(reason)
                segment.append(pack_record(code, *numbers, why, ident, ident, key, intended, end, -1))
        segment.close()
        self._write_lag(rundir)
        rundir.write_json("load-summary.json", self.load)
        if (final := self.final()) is not None:
            write_final(rundir, final)
        rundir.close()
        return rundir

    def _write_lag(self, rundir: RunDir) -> None:
        segment = Segment(rundir.history / "lag.seg", LAG_SAMPLE)
        for at, lag, sequence, *words in self.lag:
            numbers = [segment.words.number(word) for word in words]
            row = np.array([(ns(at), round(lag * 1e9), sequence, *numbers)], dtype=LAG_SAMPLE)
            segment.append(row.tobytes())
        segment.close()

    def build(self, folder: Path) -> History:
        """The run as a History, by way of its files: what ``harness check`` sees."""
        return load_history(self.write(folder))


def healthy(plan: Plan | None = None, rate: float = 50.0) -> HistoryBuilder:
    """A minute of steady transactions with one cut that was detected, healed and recovered; nothing wrong."""
    built = HistoryBuilder(plan)
    built.cut()
    for start, end, nodes in ((0, 10, built.nodes), (15.6, 29.5, ("n2", "n3")), (34, 60, built.nodes)):
        built.steady(start, end, rate, on=nodes)
        built.steady(start, end, rate / 5, on=nodes, context="async_dirty")
    for at in (10.05, 10.2, 10.3):
        for _ in range(4):
            built.op(at, target="n2", took=4.9)
    built.steady(15.6, 29.5, 5, on=("n1",), took=0.001, outcome="fail", reason="{no_majority,kv}")
    built.steady(30, 33, 20, on=("n2", "n3"))
    return built
