"""File-based service discovery: one JSON file per live run, so that a Prometheus finds every run by itself."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import RunNotFound
from harness.store import RunDir

FOLDER = "targets"


def write_target(run: RunDir, scenario: str, host: str, port: int) -> Path:
    """Announce a run's ``/metrics`` in ``<runs>/targets/<run id>.json``; files of runs that ended badly are swept.

    The file is the caller's to remove when the run ends. OSError passes through.
    """
    folder = run.path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.json"):
        if not _live(run.path.parent, stale.stem):
            stale.unlink(missing_ok=True)
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    target = [{"targets": [f"{reachable}:{port}"], "labels": {"run_id": run.run_id, "scenario": scenario}}]
    path = folder / f"{run.run_id}.json"
    fresh = path.with_suffix(".new")  # Prometheus watches *.json and must never read half a file
    fresh.write_text(json.dumps(target) + "\n")
    fresh.replace(path)
    return path


def _live(runs: Path, run_id: str) -> bool:
    for path in runs.glob(f"*-{run_id}"):
        try:
            return RunDir.open(path).live()
        except RunNotFound:
            continue
    return False
