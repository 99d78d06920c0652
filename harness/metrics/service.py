"""Metrics of one run, from its first second to ``metrics.om``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Protocol

from harness.history import FaultRecord, Mark
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
    def outcome(self) -> str: ...


class Metrics(Figures):
    """The figures of a run, sampled to disk each second from now on, and served once ``serve`` is called."""

    def __init__(self, plan: Plan, rundir: RunDir, otp: str) -> None:
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
        for finding in findings:
            if finding.outcome in ("pass", "fail"):
                self.set_expectation(finding.check, finding.outcome == "pass")

    def finish(self) -> None:
        """Stop serving and write ``metrics.om``. Raises DiskFull, or HarnessError."""
        self._serving.close()
        self._sampler.finish(self._rundir.path / "metrics.om")
