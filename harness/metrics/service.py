"""Metrics of one run, from its first second to ``metrics.om``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import reduce
from typing import Any, Protocol

import numpy as np

from harness.history import FaultRecord, FinalState, Mark, ReplicaState
from harness.metrics.exposition import serve
from harness.metrics.figures import Figures
from harness.metrics.spool import Sampler
from harness.metrics.targets import write_target
from harness.scenario.plan import Plan
from harness.store import RunDir


class Judged(Protocol):
    """What the metrics take from a finding of the checkers."""

    @property
    def check(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def outcome(self) -> str: ...

    @property
    def value(self) -> float | None: ...


class Metrics(Figures):
    """The figures of a run, sampled to disk each second from now on, and served once ``serve`` is called."""

    def __init__(self, plan: Plan, rundir: RunDir, otp: str = "") -> None:
        super().__init__(plan, rundir.run_id, otp)
        self._plan = plan
        self._rundir = rundir
        self._sampler = Sampler(self, rundir.path / "metrics.spool")
        self._serving = ExitStack()

    def serve(self, host: str, port: int) -> tuple[str, int]:
        """Serve ``/metrics`` and announce it to Prometheus (``<runs>/targets/``).

        Returns the address taken: the next free port where ``port`` is in use. Raises EnvironmentProblem.
        """
        exposition = self._serving.enter_context(serve(self, host, port))
        target = write_target(self._rundir, self._plan.name, exposition.host, exposition.port)
        self._serving.callback(target.unlink, missing_ok=True)
        return exposition.host, exposition.port

    def on_event(self, event: Any) -> None:
        """Listener for the run's bus: follows faults and phases, passes over everything else."""
        match event:
            case FaultRecord():
                self.fault(event)
            case Mark(name="phase"):
                self.set_phase(str(event.detail["phase"]))

    def set_verdict(self, outcome: str, findings: Iterable[Judged]) -> None:
        """What the run came to. Findings without a clear answer (unknown, not applicable, off) are not exported."""
        self.set_outcome(outcome)
        lost: dict[str, int] = {}
        for finding in findings:
            if finding.outcome in ("pass", "fail"):
                self.set_expectation(finding.title, finding.outcome == "pass")
            if finding.check == "acked_lost" and finding.value is not None:
                table = finding.subject.partition(",")[0]  # one finding for each table and context
                lost[table] = lost.get(table, 0) + int(finding.value)
        for table, n in lost.items():
            self.set_lost_writes(table, n)

    def set_final(self, final: FinalState) -> None:
        """Count the records that are not the same on every copy that serves reads."""
        copies: dict[str, list[ReplicaState]] = {}
        for replica in final.replicas:
            if replica.serves_reads and replica.ids is not None:
                copies.setdefault(replica.table, []).append(replica)
        for table, held in copies.items():
            self.set_divergent(table, divergent_records(held))

    def finish(self) -> None:
        """Write ``metrics.om``, then stop serving. Raises DiskFull, or HarnessError."""
        self.set_phase("ended")
        with self._serving:
            self._sampler.finish(self._rundir.path / "metrics.om")


def divergent_records(copies: Sequence[ReplicaState]) -> int:
    """How many operations are in some of the copies and not in all; in updated rows also those in another order."""
    ids = [copy.ids for copy in copies if copy.ids is not None]
    if len(ids) < 2:
        return 0
    everywhere = reduce(np.intersect1d, ids)
    somewhere = reduce(np.union1d, ids)
    keys = {key for copy in copies for key in copy.updates}
    common = set(everywhere.tolist())
    reordered = sum(
        len({tuple(i for i in copy.updates.get(key, ()) if i in common) for copy in copies}) > 1 for key in keys
    )
    return len(somewhere) - len(everywhere) + reordered
