"""A verdict for people and for programs: terminal, summary.json, junit.xml, report.html."""

from __future__ import annotations

from typing import Any

from harness.checkers import Verdict
from harness.errors import HarnessError, Interrupted
from harness.history import History
from harness.report import junit, summary
from harness.report.html import write as write_page
from harness.scenario.plan import Plan
from harness.store import RunDir

__all__ = ["write_aborted", "write_all"]


def write_all(rundir: RunDir, history: History, verdict: Verdict) -> dict[str, Any]:
    """Write every artefact a verdict has; returns what summary.json holds. Raises DiskFull."""
    told = summary.write(rundir, history, verdict)
    junit.write(rundir, history, verdict)
    write_page(rundir, history, verdict)
    return told


def write_aborted(rundir: RunDir, plan: Plan, error: HarnessError | Interrupted) -> dict[str, Any]:
    """The artefacts of a run that ended without a verdict, on a full disk too. Raises DiskFull."""
    rundir.release_reserve()
    told = summary.write_aborted(rundir, plan, error)
    junit.write_aborted(rundir, plan, error)
    return told
