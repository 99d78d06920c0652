"""summary.json: the verdict for other programs. ``schema_version`` grows when a reader would have to change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from harness import __version__
from harness.checkers import Facts, Verdict
from harness.checkers.phases import Timeline
from harness.checkers.service import phase_table
from harness.checkers.windows import FaultWindow
from harness.history import FAIL, OK, UNKNOWN, History
from harness.report.ending import Ending
from harness.report.told import headline
from harness.scenario.plan import Plan
from harness.store import RunDir

SCHEMA_VERSION: Final = 1


def write(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> dict[str, Any]:
    """Write summary.json and return what is in it. Raises DiskFull."""
    summary = told(rundir, history, verdict, ending)
    rundir.write_json("summary.json", summary)
    return summary


def told(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> dict[str, Any]:
    """What summary.json holds. Times in seconds from full load."""
    facts = Facts(history)
    ops = history.operations
    return {
        **_head(rundir, facts.plan),
        **verdict.to_json(),
        **ending.to_json(),
        "duration_s": round((facts.timeline.load_end - facts.timeline.origin) / 1e9, 3),
        "operations": {
            "total": len(ops),
            "ok": int((ops.outcome == OK).sum()),
            "fail": int((ops.outcome == FAIL).sum()),
            "unknown": int((ops.outcome == UNKNOWN).sum()),
        },
        "load": dict(history.load),
        "headline": [{"question": q, "answer": a} for q, a in headline(verdict, facts)],
        "faults": [_fault(facts.timeline, window) for window in facts.timeline.windows],
        "phases": [row.to_json() for row in phase_table(facts, by_operation=True)],
    }


def write_aborted(rundir: RunDir, plan: Plan, ending: Ending) -> dict[str, Any]:
    """summary.json of a run that ended without a verdict. Raises DiskFull."""
    summary = told_aborted(rundir, plan, ending)
    rundir.write_json("summary.json", summary)
    return summary


def told_aborted(rundir: RunDir, plan: Plan, ending: Ending) -> dict[str, Any]:
    """What summary.json then holds."""
    return {**_head(rundir, plan), **ending.to_json()}


def started_at(rundir: RunDir) -> str:
    """When the run folder was made, ISO 8601, from its name; empty for a renamed folder."""
    try:
        return datetime.strptime(rundir.path.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return ""


def _head(rundir: RunDir, plan: Plan) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "harness": __version__,
        "scenario": plan.name,
        "description": plan.description,
        "seed": plan.seed,
        "run": rundir.run_id,
        "folder": str(rundir.path),
        "started_at": started_at(rundir),
        "expect_failure": list(plan.expect_failure),
    }


def _fault(timeline: Timeline, window: FaultWindow) -> dict[str, Any]:
    def at(time: int | None) -> float | None:
        return None if time is None else round(timeline.relative(time), 6)

    return {
        "step": window.step,
        "name": window.name,
        "kind": window.kind,
        "targets": list(window.targets),
        "injected": at(window.injected),
        "in_force": at(window.bit),
        "detected": at(window.detected),
        "detected_by": {node: at(time) for node, time in sorted(window.detected_by.items())},
        "heal_began": at(window.heal_began),
        "healed": at(window.healed),
        "whole_again": at(window.whole),
    }
