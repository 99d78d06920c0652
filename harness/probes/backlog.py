"""How many probe writes each replica is behind, and when it has caught up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.history import Observation
from harness.metrics import Figures
from harness.scenario.plan import Plan

_GRACE_NS = 1_000_000_000  # a replica is behind when it is so for longer than a couple of polls


@dataclass(slots=True)
class _Behind:
    since: int
    peak: int
    told: bool = False


class Backlog:
    """Writer's number minus replica's number, added up per (table, replica). Thread-safe.

    Emits ``backlog`` when a replica has been behind for a second and ``backlog_zero`` when such a one has caught up.
    """

    def __init__(self, plan: Plan, figures: Figures, emit: Callable[[Observation], None]) -> None:
        self._figures = figures
        self._emit = emit
        self._lock = threading.Lock()
        self._written: dict[tuple[str, str, str], int] = {}  # table, source, context
        self._pending = {(table.name, replica): 0 for table in plan.tables for replica in table.copies}
        self._behind: dict[tuple[str, str], _Behind] = {}

    def update(
        self,
        node: str,
        now: int,
        written: Mapping[tuple[str, str], int],
        applied: Mapping[tuple[str, str, str], int],
    ) -> None:
        """What one node told at ``now`` (ns): its writers' last numbers, and those its own copies hold."""
        news: list[Observation] = []
        with self._lock:
            # The others' numbers are older than the copy just read, so that a write under way is no backlog.
            pending = {table: 0 for table, replica in self._pending if replica == node}
            for (table, source, context), seq in self._written.items():
                if table in pending and source != node:
                    pending[table] += max(0, seq - applied.get((table, source, context), 0))
            for (table, context), seq in written.items():
                self._written[table, node, context] = seq
            for table, n in pending.items():
                self._pending[table, node] = n
                news += self._follow(table, node, n, now)
        for table, n in pending.items():
            self._figures.set_pending(table, node, n)
        for observation in news:
            self._emit(observation)

    def _follow(self, table: str, replica: str, n: int, now: int) -> list[Observation]:
        behind = self._behind.get((table, replica))
        if n == 0:
            if self._behind.pop((table, replica), None) is None or behind is None or not behind.told:
                return []
            detail = {"table": table, "peak": behind.peak, "seconds": round((now - behind.since) / 1e9, 3)}
            return [Observation(now, replica, "backlog_zero", "", detail)]
        if behind is None:
            self._behind[table, replica] = _Behind(now, n)
            return []
        behind.peak = max(behind.peak, n)
        if behind.told or now - behind.since < _GRACE_NS:
            return []
        behind.told = True
        return [Observation(now, replica, "backlog", "", {"table": table, "pending": n})]

    def total(self) -> int:
        """Writes pending over all tables and replicas, as last heard."""
        with self._lock:
            return sum(self._pending.values())
