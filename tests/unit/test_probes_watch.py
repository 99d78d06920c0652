"""A watch that ends says so, whatever ended it; events that a node could not keep are told."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ScriptedNode
from plans import three_nodes

from harness.errors import HarnessError
from harness.etf import Atom
from harness.history import Mark
from harness.metrics import Figures
from harness.probes.membership import RING, MembershipProbe
from harness.probes.watch import NodeWatch

UP = (Atom("nodeup"), Atom("n3@n3"))


def membership(emitted: list[Any]) -> MembershipProbe:
    plan = three_nodes()
    return MembershipProbe(plan, Figures(plan, "r1", "27"), emitted.append)


@pytest.mark.parametrize(
    "answer", [Atom("what"), (1, 2), (Atom("now"), 1, []), OSError(28, "no space"), HarnessError("read", "strange")]
)
def test_whatever_ends_a_watch_leaves_a_mark(answer: Any) -> None:
    marks: list[Mark] = []
    told = threading.Event()

    def note(mark: Mark) -> None:
        marks.append(mark)
        told.set()

    node: Any = ScriptedNode("n1", {"harness_probe:events": answer})
    unused: Any = SimpleNamespace()
    watch = NodeWatch(node, membership([]), unused, unused, unused, lambda: b"", note)
    watch.start()
    assert told.wait(60.0)
    watch.stop()
    assert [(mark.name, mark.detail["node"]) for mark in marks] == [("probe_failed", "n1")]
    assert marks[0].detail["cause"]


def test_events_that_the_ring_lost_are_told_and_a_new_start_is_not() -> None:
    emitted: list[Any] = []
    probe = membership(emitted)
    node: Any = ScriptedNode("n1", {})

    def drain(first: int, count: int) -> list[Mark]:
        events = [(seq, seq, (Atom("mnesia_started"),)) for seq in range(first, first + count)]
        node.answers["harness_probe:events"] = (10**9, first + count - 1, events)
        probe.drain(node, 1.0)
        told = [event for event in emitted if isinstance(event, Mark)]
        emitted.clear()
        return told

    assert drain(100, RING) == []  # the first look: what was before is nobody's loss
    assert drain(100 + RING, RING) == []
    (mark,) = drain(107 + 2 * RING, RING)
    assert (mark.name, dict(mark.detail)) == ("probe_dropped", {"node": "n1", "what": "events", "count": 7})
    assert drain(10**9, 3) == []  # the node was started again


@pytest.mark.parametrize("ahead", [0, 10**15])
def test_an_event_of_another_clock_carries_its_error(ahead: int) -> None:
    emitted: list[Any] = []

    def events(_since: object) -> Any:
        now = time.monotonic_ns() + ahead
        return now, 1, [(1, now, UP)]

    node: Any = ScriptedNode("n1", {"harness_probe:events": events})
    before = time.monotonic_ns()
    membership(emitted).drain(node, 1.0)
    (seen,) = emitted
    error = seen.detail.get("error_ns", 0)
    assert (error > 0) is bool(ahead)
    assert before - error <= seen.time <= time.monotonic_ns() + error
