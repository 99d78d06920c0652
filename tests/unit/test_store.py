"""The run folder: made whole, locked while its owner lives, readable afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from harness.errors import DiskFull, HarnessError, RunNotFound
from harness.history import FaultRecord, Mark, Observation, read_events
from harness.scenario.plan import Plan, PlannedLoad, PlannedNode
from harness.scenario.schema import Kernel
from harness.store import RunDir, process_start


@pytest.fixture
def plan() -> Plan:
    node = PlannedNode(name="n1", node_name="n1@n1", host="n1", image="", otp=27, memory=1)
    load = PlannedLoad(
        workers=1, users=1, rate=None, operations=(), locustfile=None, timeout=1, value_size=1, max_rows=1, ramp=0
    )
    return Plan(
        name="unit", description="", seed=1, nodes=(node,), kernel=Kernel(), tables=(), mnesia=False, setup=(),
        load=load, timeline=(), duration=1, quiesce=1, expectations=(),
    )  # fmt: skip


def test_a_fresh_folder_is_locked_and_latest(tmp_path: Path, plan: Plan) -> None:
    run = RunDir.create(tmp_path, plan)
    assert (tmp_path / "latest").resolve() == run.path
    assert run.live()
    run.close()
    assert not run.live()


def test_the_plan_comes_back(tmp_path: Path, plan: Plan) -> None:
    run = RunDir.create(tmp_path, plan)
    run.close()
    again = RunDir.open(tmp_path / "latest")
    assert again.run_id == run.run_id
    assert again.plan() == plan


def test_what_was_journalled_comes_back_in_order(tmp_path: Path, plan: Plan) -> None:
    run = RunDir.create(tmp_path, plan)
    events = [
        Mark(1, "phase", {"phase": "load"}),
        FaultRecord(2, "partition-1", "partition", "injecting", ("n1", "n2"), {"pairs": [["n1", "n2"]]}),
        Observation(3, "n1", "nodedown", "n2", {"reason": "net_tick_timeout"}),
    ]
    for event in events:
        run.journal(event)
    run.close()
    assert list(read_events(run.events.read_text().splitlines())) == events


def test_a_torn_journal_line_is_left_out() -> None:
    whole = '{"type":"mark","time":1,"name":"phase","detail":{}}'
    assert len(read_events([whole, whole[:20], "", "[]", '{"type":"other"}'])) == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="no run folder"):
        RunDir.open(tmp_path)


def test_a_damaged_plan_is_an_error_of_ours(tmp_path: Path, plan: Plan) -> None:
    run = RunDir.create(tmp_path, plan)
    run.close()
    (run.path / "plan.json").write_text("{")
    with pytest.raises(RunNotFound):
        RunDir.open(run.path).plan()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="--out DIR"):
        RunDir.create(tmp_path / "file", plan)


def test_a_full_disk_is_named(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir.create(tmp_path, plan)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull, match="no space left"):
        run.journal(Mark(1, "note"))


def test_children_are_told_apart_from_a_reused_pid(tmp_path: Path, plan: Plan) -> None:
    run = RunDir.create(tmp_path, plan)
    child = subprocess.Popen(["sleep", "60"])
    try:
        run.record_child(child.pid, "worker")
        assert list(run.recorded_children()) == [(child.pid, "worker")]
    finally:
        child.kill()
        child.wait()
    assert list(run.recorded_children()) == []
    assert process_start(child.pid) == ""
    run.close()
