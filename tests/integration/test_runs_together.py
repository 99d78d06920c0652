"""A run with company: a worker that was started elsewhere, or another run at the same time; to the verdict."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import EXPOSED, Begin, Command, Ground, Run, kill, phase, tiny, wait_until

pytestmark = pytest.mark.docker


def operations(run: Run) -> list[dict[str, Any]]:
    """Lines of operations of the exported history."""
    export = Command(run.out.parent, "history", "export", run.folder)
    assert export.end() == 0, export.stderr
    records = [json.loads(line) for line in export.stdout.splitlines()]
    return [record for record in records if record["type"] in ("invoke", "ok", "fail", "unknown")]


def passed(run: Run, ground: Ground) -> dict[str, Any]:
    """Its summary: all of the exported history was judged, and nothing is left."""
    assert run.end() == 0, run.stdout + run.stderr
    summary: dict[str, Any] = run.json("summary.json")
    assert summary["outcome"] == "PASS"
    assert summary["operations"]["total"] == sum(record["type"] == "invoke" for record in operations(run))
    assert not ground.left(run)
    return summary


def test_a_worker_that_joins_over_the_network(begin: Begin, ground: Ground, tmp_path: Path) -> None:
    """It knows master and cookie, nothing else; its half of the load is in the history and in the verdict."""
    cluster = {**tiny()["cluster"], "cookie": "shared"}
    run = begin(tiny(cluster=cluster), "--expose", EXPOSED, "--remote-workers", "1")

    def master() -> str:
        assert run.process.poll() is None, run.stdout + run.stderr
        found = re.search(r"harness worker --master (\S+)", run.stdout)
        return found[1] if found else ""

    address = wait_until(master, "the line to type elsewhere")
    assert address.startswith(f"{EXPOSED}:")
    (tmp_path / "elsewhere").mkdir()
    worker = Command(
        tmp_path / "elsewhere", "worker", "--master", address, HARNESS_COOKIE="shared", TMPDIR=str(tmp_path)
    )
    try:
        passed(run, ground)
        assert worker.end() == 0, worker.stderr
    finally:
        kill(worker.process.pid)
        worker.process.wait()
    assert not list(tmp_path.glob("harness-worker-*"))
    acked = Counter((r["id"] >> 40, r["kind"]) for r in operations(run) if r["type"] == "ok")
    assert set(acked) == {(worker, kind) for worker in (1, 2) for kind in ("rpc", "write")}
    lost = [finding for finding in run.json("summary.json")["findings"] if finding["check"] == "acked_lost"]
    assert [finding["outcome"] for finding in lost] == ["pass"]


def test_two_runs_at_once(begin: Begin, ground: Ground) -> None:
    """Nodes, tables and faults of the same names; each run's rows, cuts and containers are its own."""
    runs = [begin(tiny(duration="8s", seed=seed)) for seed in (1, 2)]
    owned = []
    for run in runs:
        run.wait_for(phase("load"))
        owned.append({container.id for container in ground.containers(run.id)})
    assert [len(containers) for containers in owned] == [4, 4]
    assert not owned[0] & owned[1]
    assert runs[0].metrics_port() != runs[1].metrics_port()
    for run in runs:
        summary = passed(run, ground)
        assert [fault["kind"] for fault in summary["faults"]] == ["partition"]
