"""What follows a fault: who noticed after how long, and when the cluster was whole again."""

from __future__ import annotations

from dataclasses import dataclass, field

from plans import NAMES, three_nodes

from harness.history import FaultRecord, Observation
from harness.probes.consistency import Consistency
from harness.probes.detection import Detection
from harness.probes.view import View

S = 1_000_000_000


@dataclass
class Told:
    seen: list[tuple[Observation, str, float]] = field(default_factory=list)

    def __call__(self, observation: Observation, kind: str, seconds: float) -> None:
        self.seen.append((observation, kind, seconds))

    def pairs(self) -> dict[tuple[str, str], float]:
        return {(o.node, o.peer): seconds for o, _, seconds in self.seen}


def down(at: int, node: str, peer: str) -> Observation:
    return Observation(at, node, "nodedown", peer)


def test_a_cut_is_detected_by_each_side_once() -> None:
    told = Told()
    detection = Detection(three_nodes(), told)
    detection.on_event(FaultRecord(9 * S, "s1", "partition", "injecting", NAMES))
    detection.on_event(FaultRecord(10 * S, "s1", "partition", "bit", NAMES))
    for event in (
        down(14 * S, "n1", "n2"),
        down(15 * S, "n2", "n1"),
        down(15 * S, "n2", "n3"),  # an eviction: the cut is not between these
        down(16 * S, "n2", "n1"),
    ):
        detection.on_event(event)
    assert told.pairs() == {("n1", "n2"): 4.0, ("n2", "n1"): 5.0}
    assert len(told.seen) == 2
    first = told.seen[0][0]
    assert (first.event, first.detail["step"], first.detail["kind"]) == ("detected", "s1", "partition")


def test_a_kill_is_missed_before_it_is_proven() -> None:
    told = Told()
    detection = Detection(three_nodes(), told)
    detection.on_event(down(5 * S, "n1", "n2"))  # of an earlier trouble
    detection.on_event(FaultRecord(10 * S, "k", "kill", "injecting", ("n2",)))
    detection.on_event(down(10 * S + 20_000_000, "n1", "n2"))
    detection.on_event(FaultRecord(10 * S, "k", "kill", "bit", ("n2",)))
    detection.on_event(down(10 * S + 30_000_000, "n3", "n2"))
    assert told.pairs() == {("n1", "n2"): 0.02, ("n3", "n2"): 0.03}


def test_what_comes_after_healing_detects_nothing() -> None:
    told = Told()
    detection = Detection(three_nodes(), told)
    detection.on_event(FaultRecord(10 * S, "s1", "partition", "bit", NAMES))
    detection.on_event(FaultRecord(12 * S, "s1", "partition", "healed", NAMES))
    detection.on_event(down(13 * S, "n1", "n2"))
    assert not told.seen
    detection.on_event(down(11 * S, "n1", "n2"))  # it was drained late
    assert told.pairs() == {("n1", "n2"): 1.0}


def whole(node: str) -> View:
    others = tuple(name for name in NAMES if name != node)
    return View(node, others, "yes", NAMES)


def test_whole_again_means_everybody_was_asked_since() -> None:
    told = Told()
    plan = three_nodes(tables=[])
    backlog = [3]
    consistency = Consistency(plan, lambda: backlog[0], told)
    views: dict[str, View | None] = {name: whole(name) for name in NAMES}
    consistency.looked("n1", views)
    consistency.on_event(FaultRecord(10 * S, "s1", "partition", "bit", NAMES))
    consistency.on_event(FaultRecord(11 * S, "s1", "partition", "healed", NAMES))
    consistency.looked("n1", views)
    consistency.looked("n2", views)
    assert not told.seen
    consistency.looked("n3", views | {"n3": None})
    assert not told.seen
    consistency.looked("n3", views)
    assert not told.seen, "writes are pending"
    backlog[0] = 0
    consistency.looked("n3", views)
    assert [(o.event, kind) for o, kind, _ in told.seen] == [("consistent", "partition")]
    consistency.looked("n3", views)
    assert len(told.seen) == 1


def test_a_fault_in_force_elsewhere_delays_the_answer() -> None:
    told = Told()
    consistency = Consistency(three_nodes(tables=[]), lambda: 0, told)
    views: dict[str, View | None] = {name: whole(name) for name in NAMES}
    consistency.on_event(FaultRecord(1, "s1", "partition", "bit", NAMES))
    consistency.on_event(FaultRecord(2, "s2", "pause", "bit", ("n1",)))
    consistency.on_event(FaultRecord(3, "s1", "partition", "healed", NAMES))
    for name in NAMES:
        consistency.looked(name, views)
    assert not told.seen
    consistency.on_event(FaultRecord(4, "s2", "pause", "healed", ("n1",)))
    for name in NAMES:
        consistency.looked(name, views)
    assert [o.detail["step"] for o, _, _ in told.seen] == ["s1", "s2"]
