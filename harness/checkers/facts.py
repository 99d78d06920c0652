"""A history with what every checker asks of it, worked out once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.checkers.phases import Timeline
from harness.checkers.verdict import Finding, Outcome, Severity
from harness.checkers.windows import FaultWindow
from harness.checkers.words import duration
from harness.history import OK, History, Operations, ReplicaState
from harness.scenario.plan import Expectation, Plan, PlannedTable
from harness.scenario.schema import Limit

WRITES = ("write", "update")
TRANSACTIONS = ("transaction", "sync_transaction")
DIRTY = ("async_dirty", "sync_dirty")
MIN_SAMPLES = 10
CHANCE = 4.0  # standard deviations that the number of random arrivals may stay below its mean


class Facts:
    """``nodes`` are scenario names; ``node`` brings an Erlang node name to that form."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.plan: Plan = history.plan
        self.nodes = tuple(node.name for node in self.plan.nodes)
        self._alias: dict[str, str] = {n.node_name: n.name for n in self.plan.nodes} | {n: n for n in self.nodes}
        self.targets = tuple(self.node(target) for target in history.operations.targets)

    def node(self, name: str) -> str:
        return self._alias.get(name, name)

    @property
    def operations(self) -> Operations:
        return self.history.operations

    @cached_property
    def timeline(self) -> Timeline:
        return Timeline(self.history, self._alias)

    @property
    def cuts(self) -> tuple[FaultWindow, ...]:
        return tuple(window for window in self.timeline.windows if window.kind == "partition")

    @property
    def detection_bound(self) -> float:
        """Seconds within which the kernel promises nodedown on a silent connection: T(1+1/I), and a second."""
        kernel = self.plan.kernel
        return kernel.net_ticktime * (1 + 1 / kernel.net_tickintensity) + 1

    def lasted(self, window: FaultWindow) -> float:
        """Seconds a fault was in force, to the order to heal or the end of load."""
        ended = window.heal_began if window.heal_began is not None else self.timeline.load_end
        return (ended - window.in_force) / 1e9

    def unnoticeable(self, window: FaultWindow) -> bool:
        """It ended before silence alone could make any node notice, and until then none did."""
        ended = window.heal_began is not None and self.lasted(window) < self.plan.kernel.net_ticktime
        return ended and window.kind != "kill" and not window.detected_by

    def overdue(self, window: FaultWindow) -> bool:
        """It bit, outlasted the bound, and was not seen to be noticed by all: the nodes or the watching failed."""
        unseen = bool(window.observers) and window.detected is None
        return unseen and window.bit is not None and self.lasted(window) > self.detection_bound

    @cached_property
    def unwatched(self) -> frozenset[str]:
        """Nodes of which not every event was seen: their silence proves nothing."""
        marks = [*self.history.marks("probe_failed"), *self.history.marks("probe_dropped")]
        return frozenset(self.node(str(m.detail.get("node"))) for m in marks if m.detail.get("what") != "lag")

    @cached_property
    def writers(self) -> tuple[tuple[str, str], ...]:
        """(table, context) of everything planned or recorded that writes."""
        seen = {(o.table, str(o.context)) for o in self.plan.load.operations if o.kind in WRITES}
        seen |= {(o.table, o.context) for o in self.operations.operations if o.kind in WRITES}
        return tuple(sorted(seen))

    def acknowledged(self, table: str, context: str) -> npt.NDArray[np.bool_]:
        """Mask of the writes and updates that were answered ok."""
        asked = self.operations.of_kind(*WRITES, table=table, context=context)
        answered: npt.NDArray[np.bool_] = asked & (self.operations.outcome == OK)
        return answered

    def on(self, nodes: frozenset[str] | set[str]) -> npt.NDArray[np.bool_]:
        """Mask of the operations asked of one of these nodes."""
        wanted = [i for i, target in enumerate(self.targets) if target in nodes]
        return np.isin(self.operations.target, wanted)

    def expectations(self, check: str) -> tuple[Expectation, ...]:
        return tuple(e for e in self.plan.expectations if e.check == check)

    def expectation(self, check: str) -> Limit | None:
        """The limit written for a check, None where the scenario says nothing."""
        written = self.expectations(check)
        return written[0].limit if written else None

    def severity(self, check: str, default: Severity = "fail") -> Severity:
        limit = self.expectation(check)
        return limit.severity if limit is not None else default

    # --- tables ---

    def table(self, name: str) -> PlannedTable | None:
        return next((table for table in self.plan.tables if table.name == name), None)

    def replicas(self, table: str) -> tuple[ReplicaState, ...]:
        """The copies read after quiesce."""
        final = self.history.final
        return tuple(r for r in final.replicas if r.table == table) if final is not None else ()

    def unread(self, table: str) -> tuple[str, ...]:
        """Nodes that were planned to hold a copy and whose copy was not read."""
        planned = self.table(table)
        read = {self.node(replica.node) for replica in self.replicas(table)}
        return tuple(sorted(set(planned.copies) - read)) if planned is not None else ()

    # --- words ---

    def operation(self, row: int) -> dict[str, Any]:
        """Evidence: one operation so that a person finds it again."""
        ops = self.operations
        told: dict[str, Any] = {
            "id": int(ops.id[row]),
            "op": ops.operations[ops.op[row]].name,
            "target": self.targets[ops.target[row]],
            "at_s": round(self.timeline.relative(int(ops.start[row])), 3),
            "when": self.timeline.tell(int(ops.start[row])),
        }
        if ops.key[row] >= 0 and ops.operations[ops.op[row]].kind == "update":
            told["key"] = int(ops.key[row])
        if ops.end[row] >= 0:
            told["took_s"] = round((int(ops.end[row]) - int(ops.start[row])) / 1e9, 6)
        return told


def judged(
    check: str,
    value: float,
    limit: Limit | None,
    summary: str,
    *,
    default: float | None = None,
    error: float = 0.0,
    **more: Any,
) -> Finding:
    """A finding for a figure held against a limit: the scenario's, else ``default``; with neither it informs.

    A default limit that is missed warns unless ``severity`` is given. Within ``error`` of a limit it is unknown.
    """
    upper = limit.limit if limit is not None and limit.limit is not None else None
    lower = limit.min if limit is not None else None
    severity: Severity = more.pop("severity", "warn")
    if limit is not None:
        severity = limit.severity
    if upper is None and lower is None:
        upper = default
    missed = (upper is not None and value > upper) or (lower is not None and value < lower)
    near = any(bound is not None and abs(value - bound) < error for bound in (upper, lower))
    outcome: Outcome = "unknown" if near else "fail" if missed else "pass"
    if near:
        summary += f", give or take {duration(error)} of the clocks"
    bound = upper if upper is not None else lower
    return Finding(check, outcome, summary, severity=severity, value=value, limit=bound, **more)
