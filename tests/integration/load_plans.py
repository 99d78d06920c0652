"""Plans for load tests, made without a scenario file, and what drives them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodes import COOKIE, ErlangNode

from harness.history import Mark
from harness.load.launch import LoadRun
from harness.load.worker import Endpoint
from harness.scenario.model import RpcCall
from harness.scenario.plan import Plan, PlannedLoad, PlannedNode, PlannedOperation
from harness.scenario.schema import Kernel
from harness.store import RunDir

ECHO = RpcCall(module="erlang", function="abs", args=(-1,))


def rpc(name: str = "abs", weight: int = 1, on: tuple[str, ...] = ("n1",), call: RpcCall = ECHO) -> PlannedOperation:
    return PlannedOperation(name=name, kind="rpc", weight=weight, on=on, call=call)


def on_table(kind: Any, context: Any, table: str = "kv", on: tuple[str, ...] = ("n1",)) -> PlannedOperation:
    keys = 5 if kind == "update" else 0
    return PlannedOperation(
        name=f"{kind} {table} {context}", kind=kind, weight=1, on=on, table=table, context=context, keys=keys
    )


def load(operations: tuple[PlannedOperation, ...], **changes: Any) -> PlannedLoad:
    given: dict[str, Any] = {
        "workers": 1,
        "users": 4,
        "rate": None,
        "operations": operations,
        "locustfile": None,
        "timeout": 60.0,
        "value_size": 20,
        "max_rows": 1_000_000,
        "ramp": 0.0,
    }
    return PlannedLoad(**{**given, **changes})


def plan_of(planned: PlannedLoad, nodes: list[ErlangNode]) -> Plan:
    return Plan(
        name="load-test",
        description="",
        seed=7,
        nodes=tuple(
            PlannedNode(name=f"n{i}", node_name=node.name, host=node.host, image="", otp=node.otp, memory=0)
            for i, node in enumerate(nodes, 1)
        ),
        kernel=Kernel(net_ticktime=8),
        tables=(),
        mnesia=False,
        setup=(),
        load=planned,
        timeline=(),
        duration=1.0,
        quiesce=1.0,
        expectations=(),
    )


def targets(nodes: list[ErlangNode]) -> list[Endpoint]:
    """Ports asked from EPMD."""
    return [Endpoint(f"n{i}", node.name, node.address, 0) for i, node in enumerate(nodes, 1)]


@dataclass
class Watched:
    """A LoadRun with what it said."""

    run: LoadRun
    rundir: RunDir
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    events: list[Mark] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def of(cls, out: Path, planned: PlannedLoad, nodes: list[ErlangNode], **options: Any) -> Watched:
        plan = plan_of(planned, nodes)
        rundir = RunDir.create(out, plan)
        made: Watched

        def on_snapshot(snapshot: dict[str, Any]) -> None:
            with made.changed:
                made.snapshots.append(snapshot)
                made.changed.notify_all()

        def on_event(event: Mark) -> None:
            with made.changed:
                made.events.append(event)
                made.changed.notify_all()

        cookie = options.pop("cookie", COOKIE)
        run = LoadRun(plan, targets(nodes), cookie, rundir, on_snapshot=on_snapshot, on_event=on_event, **options)
        made = cls(run, rundir)
        return made

    def wait(self, what: Any, seconds: float = 120.0) -> Any:
        """Until ``what(self)`` is true; returns it."""
        deadline = time.monotonic() + seconds
        with self.changed:
            assert self.changed.wait_for(lambda: what(self), deadline - time.monotonic()), (
                self.events,
                self.snapshots[-1:],
                *(p.read_text()[-3000:] for p in self.rundir.logs.glob("locust-*.log")),
            )
            return what(self)

    def completed_by(self) -> dict[str, int]:
        """Operations completed by each worker, as last reported."""
        last = {snapshot["worker"]: snapshot for snapshot in self.snapshots}
        return {worker: sum(op["count"] for op in snapshot["ops"]) for worker, snapshot in last.items()}

    def completed(self) -> int:
        return sum(self.completed_by().values())
