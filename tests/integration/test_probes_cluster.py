"""Probes over three real nodes: steady, lag measured, a cut and a kill seen, everything read at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from plans import NAMES, three_nodes

from harness.bus import Bus
from harness.cluster.cluster import Cluster
from harness.cluster.engine import find_engine
from harness.etf import Atom
from harness.faults.fault import Situation
from harness.faults.partition import Partition
from harness.history import FaultRecord, JournalEvent, Observation
from harness.metrics import Metrics, names
from harness.probes import Probes, baseline, quiesce, read_final_state
from harness.scenario.plan import Plan
from harness.segments import read_lag
from harness.store import RunDir

pytestmark = pytest.mark.docker


@dataclass
class Ground:
    """A started cluster under probes. Tests follow each other: each leaves a whole cluster."""

    plan: Plan
    cluster: Cluster
    rundir: RunDir
    metrics: Metrics
    probes: Probes
    bus: Bus
    seen: list[JournalEvent] = field(default_factory=list)

    def journal(self, event: JournalEvent) -> None:
        self.seen.append(event)
        self.rundir.journal(event)
        self.bus.publish(event)

    def observed(self, event: str, node: str, peer: str = "", timeout: float = 120.0) -> Observation:
        found = self.bus.wait_for(
            lambda e: isinstance(e, Observation) and (e.event, e.node) == (event, node) and peer in ("", e.peer),
            timeout,
        )
        assert found is not None, f"no {event} on {node} of {peer or 'anybody'}"
        return found  # type: ignore[no-any-return]

    def figure(self, family: names.Family, *labels: str) -> float:
        return next((p.values[-1] for p in self.metrics.points() if p.family is family and p.labels == labels), -1.0)

    def until(self, condition: Callable[[], bool], timeout: float = 120.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "nothing in time"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    plan = three_nodes(quiesce=60.0)
    rundir = RunDir.create(tmp_path_factory.mktemp("runs"), plan)
    with Cluster.start(plan, "", rundir.run_id, find_engine(), print) as cluster:
        metrics = Metrics(plan, rundir, cluster.otp)
        made = Ground(plan, cluster, rundir, metrics, None, Bus())  # type: ignore[arg-type]
        made.probes = Probes(cluster, plan, rundir, made.journal, made.bus, metrics)
        made.bus.subscribe(metrics.on_event)
        made.probes.install()
        baseline(cluster, plan)
        made.probes.start()
        yield made
        made.probes.stop()
        metrics.finish()
    rundir.close()


def test_lag_is_measured_for_every_pair_and_context(ground: Ground) -> None:
    def measured() -> bool:
        lag = read_lag(ground.rundir.history)
        return len(np.unique(lag.rows[["source", "replica", "context"]])) == 12  # 3 sources, 2 replicas, 2 contexts

    ground.until(measured)
    assert ground.metrics.lag().count >= 12
    ground.until(lambda: ground.figure(names.NODE_UP, "n2") == 1.0)
    ground.until(lambda: ground.figure(names.LINK_UP, "n2", "n3") == 1.0)
    committed = names.ERLANG_BY_NAME["erlang_mnesia_committed_transactions"]
    ground.until(lambda: ground.figure(committed, "n1") > 0)
    assert (ground.rundir.path / "metrics.spool").is_dir()


def test_a_cut_is_seen_and_ends_in_a_split_that_is_not_hidden(ground: Ground) -> None:
    """Journal records as the injector writes them, around the real fault."""
    step = ground.plan.timeline[0]
    fault = Partition(step, Situation(ground.cluster, ground.plan, lambda *_: None, lambda *_: None))
    ground.journal(FaultRecord(time.monotonic_ns(), "s1", "partition", "injecting", fault.targets))
    fault.inject()
    bit = fault.bit()
    assert bit.ok, bit.detail
    ground.journal(FaultRecord(bit.time or time.monotonic_ns(), "s1", "partition", "bit", fault.targets))
    try:
        for node, peer in (("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n1")):
            assert ground.observed("detected", node, peer).detail["seconds"] > 0
        ground.observed("backlog", "n1")
        # The harness's own connections are not cut.
        ground.until(lambda: ground.figure(names.NODE_UP, "n1") == 1.0)
        ground.until(lambda: ground.figure(names.LINK_UP, "n1", "n2") == 0.0)
    finally:
        fault.heal()
    healed = fault.healed()
    assert healed.ok, healed.detail
    ground.journal(FaultRecord(time.monotonic_ns(), "s1", "partition", "healed", fault.targets))
    report = quiesce(ground.cluster, ground.plan, ground.journal, ground.probes.backlog)
    assert not report.whole
    assert any("its Mnesia does not see" in left for left in report.left)
    final = read_final_state(ground.cluster, ground.plan, {})
    assert final.problems == ()
    split = {view.node: view.running_db_nodes for view in final.views}
    assert split["n1"] != split["n2"]
    ground.observed("inconsistent_database", "n1")
    _restart_mnesia(ground, "n1")


def test_a_killed_node_is_watched_again_after_its_return(ground: Ground) -> None:
    node = ground.cluster.nodes["n3"]
    before = len(read_lag(ground.rundir.history).rows)
    node.kill()
    ground.until(lambda: ground.figure(names.NODE_UP, "n3") == 0.0)
    ground.observed("mnesia_down", "n2", "n3")
    node.start()
    node.wait_ready(120.0)
    returned = time.monotonic_ns()

    def lag_from_and_to_it() -> bool:
        lag = read_lag(ground.rundir.history)
        rows = lag.rows[before:]
        rows = rows[rows["time"] > returned]
        own = lag.words.index("n3")
        return bool((rows["source"] == own).any() and (rows["replica"] == own).any())

    ground.until(lag_from_and_to_it)
    ground.until(lambda: quiesce(ground.cluster, ground.plan, ground.journal, ground.probes.backlog).whole)


def test_a_frozen_node_delays_nobody(ground: Ground) -> None:
    node = ground.cluster.nodes["n2"]
    node.pause()
    try:
        ground.until(lambda: ground.figure(names.NODE_UP, "n2") == 0.0)
        ground.until(lambda: ground.figure(names.NODE_UP, "n1") == ground.figure(names.NODE_UP, "n3") == 1.0)
        assert ground.figure(names.NODE_UP, "n2") == 0.0
    finally:
        node.unpause()
    ground.until(lambda: ground.figure(names.NODE_UP, "n2") == 1.0)
    _restart_mnesia(ground, "n2")  # the others may have given it up meanwhile


def test_every_copy_is_read_at_the_end(ground: Ground) -> None:
    for op in (11, 5, 2**40):
        row = (Atom("kv"), op, b"x")
        assert ground.cluster.nodes["n1"].rpc("mnesia", "dirty_write", [Atom("kv"), row]) == "ok"
    ground.until(lambda: quiesce(ground.cluster, ground.plan, ground.journal, ground.probes.backlog).whole)
    final = read_final_state(ground.cluster, ground.plan, {})
    assert final.problems == ()
    assert {r.node for r in final.replicas} == set(NAMES)
    assert len({(r.count, r.digest) for r in final.replicas}) == 1
    for replica in final.replicas:
        assert replica.serves_reads
        assert replica.ids is not None
        assert replica.ids.tolist() == [5, 11, 2**40]


def _restart_mnesia(ground: Ground, name: str) -> None:
    """Rejoin by adopting the others' copies."""
    node = ground.cluster.nodes[name]
    others = [Atom(n.node_name) for n in ground.cluster.nodes.values() if n.name != name]
    assert node.rpc("mnesia", "set_master_nodes", [others], 60.0) == "ok"
    assert node.rpc("mnesia", "stop", [], 60.0) == "stopped"
    assert node.rpc("mnesia", "start", [], 60.0) == "ok"
    answer = node.rpc("mnesia", "wait_for_tables", [[Atom("kv"), Atom("harness_lag_kv")], 60_000], 90.0)
    assert answer == "ok"
    assert node.rpc("mnesia", "set_master_nodes", [[]], 60.0) == "ok"
