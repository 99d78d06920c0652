"""What a worker tells its master unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plans import three_nodes

from harness.dist import THREADS
from harness.history import INVOKE
from harness.load.worker import Worker
from harness.segments import pack_record, read_segment


class Told:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.worker = Worker(lambda kind, data: self.sent.append((kind, data)), THREADS, "c", 1)

    def events(self) -> list[tuple[str, str]]:
        return [(data["name"], data["detail"]["cause"]) for kind, data in self.sent if kind == "harness_event"]


@pytest.fixture
def told() -> Told:
    return Told()


def plan(segment: Path | None) -> dict[str, Any]:
    """No node and no operation: a locustfile's."""
    load = three_nodes().load.model_copy(update={"operations": (), "locustfile": "shop.py"})
    return {
        "name": "w1", "index": 1, "load": load.model_dump(mode="json"), "targets": [], "seed": 1, "ticktime": 8,
        "tls": False, "segment": segment and str(segment), "first_user": 0,
    }  # fmt: skip


def test_what_users_own_code_raises_is_told_once_of_each_kind(told: Told) -> None:
    for _ in range(3):
        told.worker.user_failed("Shopper", AssertionError())
        told.worker.user_failed("Shopper", ValueError("no number: 'x'\nsecond line"))
    assert told.events() == [
        ("load_failed", "Shopper: AssertionError"),
        ("load_failed", "Shopper: ValueError: no number: 'x'"),
    ]
    for number in range(100):
        told.worker.user_failed(f"User{number}", ValueError("x" * 1000))
    assert len(told.events()) == 5
    assert max(len(cause) for _, cause in told.events()) < 300


def test_a_defect_ends_the_run(told: Told) -> None:
    told.worker.broken(KeyError("tls"))
    assert told.events() == [("load_problem", "worker: KeyError: 'tls'")]


def test_a_worker_that_was_refused_has_no_figures(told: Told) -> None:
    told.worker.end(1.0)
    assert told.sent == []


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_figures_count_is_recorded_before_they_leave(told: Told, tmp_path: Path, elsewhere: bool) -> None:
    """So that a worker killed in between has more in its history than it has told, never less."""
    worker = told.worker
    worker.on_plan(plan(None if elsewhere else tmp_path / "ops-w1.seg"))
    assert worker._recorder is not None
    record = pack_record(INVOKE, 1, 1, 0, 1, 1, -1, 1, 1, -1)
    worker._recorder.append(record)
    told.sent.clear()
    worker.report()
    *before, (kind, _) = told.sent
    assert kind == "harness_snapshot"
    if elsewhere:
        assert before[-1][1]["data"].endswith(record)
    else:
        assert len(read_segment(tmp_path / "ops-w1.seg")) == 1
    worker.end(1.0)
