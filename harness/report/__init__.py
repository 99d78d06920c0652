"""A verdict for people and for programs: terminal, summary.json, junit.xml, report.html."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from harness.checkers import Verdict
from harness.errors import EnvironmentProblem, HarnessError, Interrupted
from harness.history import History
from harness.report import html, junit, summary
from harness.report.ending import Ending
from harness.scenario.plan import Plan
from harness.store import RunDir

__all__ = ["Ending", "write_aborted", "write_again", "write_all", "write_troubled"]

ARTEFACTS = ("summary.json", "junit.xml", "report.html")


def write_all(rundir: RunDir, history: History, verdict: Verdict) -> dict[str, Any]:
    """Write every artefact a verdict has; returns what summary.json holds. Raises DiskFull."""
    return _write(rundir, history, verdict, Ending.of(verdict))


def write_again(rundir: RunDir, history: History, verdict: Verdict) -> dict[str, Any]:
    """The same for a run that ended long ago, which does not change how it ended. Raises DiskFull."""
    return _write(rundir, history, verdict, Ending.again(rundir, verdict))


def write_troubled(rundir: RunDir, history: History, verdict: Verdict, trouble: HarnessError) -> dict[str, Any]:
    """The same when something went wrong after ``write_all``. An artefact there is no room for is removed: better none
    than one that says something else."""
    ending = Ending.of(verdict, trouble)
    _forget(rundir)
    for artefact in (summary, junit, html):
        with suppress(EnvironmentProblem):
            artefact.write(rundir, history, verdict, ending)
    return summary.told(rundir, history, verdict, ending)


def write_aborted(rundir: RunDir, plan: Plan, error: HarnessError | Interrupted) -> dict[str, Any]:
    """The artefacts of a run that ended without a verdict, on a full disk too. Raises DiskFull."""
    _forget(rundir)
    ending = Ending.without_verdict(error)
    told = summary.write_aborted(rundir, plan, ending)
    junit.write_aborted(rundir, plan, ending)
    return told


def _write(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> dict[str, Any]:
    told = summary.write(rundir, history, verdict, ending)
    junit.write(rundir, history, verdict, ending)
    html.write(rundir, history, verdict, ending)
    return told


def _forget(rundir: RunDir) -> None:
    rundir.release_reserve()
    for name in ARTEFACTS:
        (rundir.path / name).unlink(missing_ok=True)
