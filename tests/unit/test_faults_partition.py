"""A cut that may have lapsed is always told, whatever kept it from being renewed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from plans import three_nodes

from harness.faults import partition
from harness.faults.fault import Situation
from harness.faults.partition import Partition


class Marks:
    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.some = threading.Event()

    def __call__(self, name: str, detail: Mapping[str, Any]) -> None:
        self.told.append((name, detail))
        self.some.set()


class Helper:
    """Takes every script; raises ``error`` once it is set."""

    error: Exception | None = None

    def run(self, script: str, timeout: float) -> str:
        if self.error is not None:
            raise self.error
        return '{"nftables": []}'


def cut(marks: Marks, helper: Helper) -> Partition:
    plan = three_nodes()
    nodes = {node.name: SimpleNamespace(address=f"198.18.0.{n}", helper=helper) for n, node in enumerate(plan.nodes, 2)}
    cluster: Any = SimpleNamespace(nodes=nodes)
    return Partition(plan.timeline[0], Situation(cluster, plan, marks, lambda *_: None))


def test_whatever_ends_a_renewal_is_marked_and_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "RENEWAL", 0.01)
    monkeypatch.setattr(partition, "LIFETIME", 3600.0)  # no gap: whatever is marked is told by the error
    marks, helper = Marks(), Helper()
    fault = cut(marks, helper)
    fault.inject()
    helper.error = RuntimeError("can't start new thread")
    for _ in range(2):
        assert marks.some.wait(60)
        marks.some.clear()
    name, detail = marks.told[0]
    assert (name, detail["step"]) == ("renewal_missed", "s1")
    assert detail["problem"] == "RuntimeError: can't start new thread"
    helper.error = None
    fault.heal()


def test_a_gap_that_only_heal_sees_is_marked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "RENEWAL", 3600.0)  # as if the process had stood still since the cut
    marks = Marks()
    fault = cut(marks, Helper())
    fault.inject()
    monkeypatch.setattr(partition, "LIFETIME", 0.0)
    fault.heal()
    fault.heal()
    ((name, detail),) = marks.told
    assert (name, detail["problem"]) == ("renewal_missed", "not renewed before it was healed")


def test_a_cut_healed_in_time_and_one_never_made_are_not_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "LIFETIME", 3600.0)
    marks = Marks()
    fault = cut(marks, Helper())
    fault.heal()
    fault = cut(marks, Helper())
    fault.inject()
    fault.heal()
    assert marks.told == []
