"""A verdict for people and for programs: terminal, summary.json, junit.xml, report.html."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from harness.checkers import Verdict, check
from harness.errors import EnvironmentProblem, HarnessError, Interrupted
from harness.history import History
from harness.history_files import load_history
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
    return _write(rundir, history, verdict, Ending.again(rundir, history, verdict))


def write_troubled(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> dict[str, Any]:
    """The same when something went wrong after ``write_all``. An artefact there is no room for is removed: better none
    than one that says something else."""
    _forget(rundir)
    with suppress(EnvironmentProblem):
        rundir.journal_end(ending.journalled())
    for artefact in (summary, junit, html):
        with suppress(EnvironmentProblem):
            artefact.write(rundir, history, verdict, ending)
    return summary.told(rundir, history, verdict, ending)


def write_aborted(rundir: RunDir, plan: Plan, error: HarnessError | Interrupted) -> dict[str, Any]:
    """The artefacts of a run that ended without a verdict, on a full disk too; returns what summary.json holds, or
    would if there were room. The page shows what had been recorded until then."""
    _forget(rundir)
    ending = Ending.without_verdict(error).masked(plan.secrets)
    with suppress(EnvironmentProblem):
        rundir.journal_end(ending.journalled())
    for artefact in (summary, junit):
        with suppress(EnvironmentProblem):
            artefact.write_aborted(rundir, plan, ending)
    with suppress(Exception):  # whatever is wrong with what was recorded, it is not what ended the run
        history = load_history(rundir)
        html.write(rundir, history, check(history), ending)
    return summary.told_aborted(rundir, plan, ending)


def _write(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> dict[str, Any]:
    if ending.judged:
        told = summary.write(rundir, history, verdict, ending)
        junit.write(rundir, history, verdict, ending)
    else:
        told = summary.write_aborted(rundir, history.plan, ending)
        junit.write_aborted(rundir, history.plan, ending)
    html.write(rundir, history, verdict, ending)
    return told


def _forget(rundir: RunDir) -> None:
    rundir.release_reserve()
    for name in ARTEFACTS:
        (rundir.path / name).unlink(missing_ok=True)
