"""Two halves of a probe write make a lag sample; numbers apart make a backlog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedNode
from plans import NAMES, three_nodes

from harness.errors import EnvironmentProblem
from harness.etf import Atom
from harness.history import Mark
from harness.metrics import Figures
from harness.probes.lag import TOTAL_RATE, LagProbe, lag_contexts
from harness.probes.view import TableView, View
from harness.segments import read_lag
from harness.store import RunDir

S = 1_000_000_000
TAB = Atom("harness_lag_kv")
TX = Atom("transaction")


class Bench:
    """A lag probe over scripted nodes."""

    def __init__(self, folder: Path) -> None:
        self.plan = three_nodes()
        self.rundir = RunDir.create(folder, self.plan)
        self.figures = Figures(self.plan, "r1", "27")
        self.emitted: list[Any] = []
        self.probe = LagProbe(self.plan, self.rundir, self.figures, self.emitted.append)
        answers = {"harness_probe:lag_watch": Atom("ok"), "harness_probe:lag_write": Atom("ok")}
        self.nodes = {name: ScriptedNode(name, answers) for name in NAMES}
        self.now = 0
        for name in NAMES:
            self.arm(name)

    def arm(self, name: str) -> None:
        mirror = TableView(NAMES, name, "ram_copies", 0)
        self.view = View(name, (), "yes", NAMES, {"harness_lag_kv": mirror})
        self.probe.poll(self.nodes[name], self.view, 1.0)  # type: ignore[arg-type]

    def take(self, name: str, **changes: Any) -> None:
        self.now += S
        taken = {"now": self.now, "acks": [], "seen": [], "written": [], "applied": [], "dropped": 0} | changes
        self.nodes[name].answers["harness_probe:lag_take"] = {Atom(key): value for key, value in taken.items()}
        self.probe.poll(self.nodes[name], self.view, 1.0)  # type: ignore[arg-type]

    def samples(self) -> list[tuple[str, str, str, str, int, int, int]]:
        self.probe.close()
        lag = read_lag(self.rundir.history)
        return [
            (*(lag.words[int(row[column])] for column in ("table", "source", "replica", "context")),
             int(row["sequence"]), int(row["time"]), int(row["lag"]))
            for row in lag.rows
        ]  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.probe.close()
    made.rundir.close()


def ack(seq: int, at: int) -> tuple[Any, ...]:
    return (TAB, TX, seq, at - 100, at)


def seen(source: str, seq: int, at: int) -> tuple[Any, ...]:
    return (TAB, Atom(f"{source}@{source}"), TX, seq, at)


def test_halves_meet_in_either_order(bench: Bench) -> None:
    bench.take("n1", acks=[ack(1, 1000)])
    bench.take("n2", seen=[seen("n1", 1, 1500), seen("n1", 2, 2000)])
    bench.take("n1", acks=[ack(2, 2300)])
    assert bench.samples() == [
        ("kv", "n1", "n2", "transaction", 1, 1500, 500),
        ("kv", "n1", "n2", "transaction", 2, 2000, -300),
    ]
    assert bench.figures.lag().count == 2


def test_numbers_of_a_lost_probe_meet_nobody(bench: Bench) -> None:
    bench.take("n1", acks=[ack(1, 1000)])
    bench.probe.disarm("n1")
    bench.arm("n1")
    bench.take("n2", seen=[seen("n1", 1, 9_000)])
    assert bench.samples() == []


def test_a_writers_own_copy_is_no_replica(bench: Bench) -> None:
    bench.take("n1", acks=[ack(1, 1000)], seen=[seen("n1", 1, 1200)])
    assert bench.samples() == []


def test_a_replica_behind_is_told_and_its_return_too(bench: Bench) -> None:
    n1 = Atom("n1@n1")
    bench.take("n1", written=[(TAB, TX, 5)])
    bench.take("n2", applied=[(TAB, n1, TX, 5)])
    assert bench.probe.backlog.total() == 0
    bench.take("n1", written=[(TAB, TX, 9)])
    bench.take("n2", applied=[(TAB, n1, TX, 5)])
    assert bench.probe.backlog.total() == 4
    assert not bench.emitted, "not yet for long"
    bench.take("n2", applied=[(TAB, n1, TX, 6)])
    assert [(o.node, o.event, dict(o.detail)) for o in bench.emitted] == [
        ("n2", "backlog", {"table": "kv", "pending": 3})
    ]
    bench.take("n2", applied=[(TAB, n1, TX, 9)])
    zero = bench.emitted[-1]
    assert (zero.node, zero.event, zero.detail["peak"], zero.detail["table"]) == ("n2", "backlog_zero", 4, "kv")
    assert bench.probe.backlog.total() == 0


def test_writers_follow_the_scenario_and_stay_bounded(bench: Bench) -> None:
    contexts = lag_contexts(bench.plan)
    assert contexts["kv", "n1"] == ("async_dirty", "transaction")
    orders = [args[0] for n in bench.nodes.values() for call, args in n.calls if call.endswith("lag_write")]
    assert sum(order[Atom("rate")] * len(order[Atom("contexts")]) for order in orders) <= TOTAL_RATE + 1e-9
    unwritten = three_nodes(load=bench.plan.load.model_copy(update={"operations": ()}).model_dump())
    assert lag_contexts(unwritten) == {("kv", name): ("transaction",) for name in NAMES}


def test_nothing_is_started_before_the_mirror_is_loaded(bench: Bench) -> None:
    bench.probe.disarm("n2")
    bench.nodes["n2"].calls.clear()
    bench.probe.poll(bench.nodes["n2"], View("n2", (), "yes", NAMES), 1.0)  # type: ignore[arg-type]
    assert bench.nodes["n2"].calls == []


def test_a_mirror_that_cannot_be_made_is_told(bench: Bench) -> None:
    node = bench.nodes["n1"]
    node.answers["harness_probe:ensure_table"] = (Atom("error"), Atom("no"))
    with pytest.raises(EnvironmentProblem, match="n1: create harness_lag_kv"):
        bench.probe.create_tables(bench.nodes)  # type: ignore[arg-type]
    ((_, (name, options)),) = [call for call in node.calls if call[0].endswith("ensure_table")]
    assert name == TAB
    assert (Atom("majority"), True) in options
    assert (Atom("ram_copies"), [Atom(f"{n}@{n}") for n in NAMES]) in options


def test_samples_without_room_are_told_ever_more_rarely(bench: Bench) -> None:
    for dropped in (0, 3, 1, 1, 1, 0):
        bench.take("n1", dropped=dropped)
    assert all(isinstance(mark, Mark) and mark.name == "probe_dropped" for mark in bench.emitted)
    assert [dict(mark.detail) for mark in bench.emitted] == [
        {"node": "n1", "what": "lag", "count": 3},
        {"node": "n1", "what": "lag", "count": 3},
    ]
