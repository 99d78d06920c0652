"""Each fault on a real cluster: that it bit and that it healed. One cluster for the module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from plans import NAMES, three_nodes

from harness.bus import Bus
from harness.cluster.cluster import Cluster
from harness.cluster.engine import find_engine
from harness.errors import HarnessError
from harness.etf import Atom, Export
from harness.faults import kill, nft, partition, pause, recover
from harness.faults.fault import Evidence, Fault, Situation, until
from harness.faults.inject import Injector
from harness.faults.links import ARRIVED, DROPPED, ELSEWHERE, LOST, judge, probe, standing_cuts
from harness.faults.registry import FAULTS
from harness.history import FaultRecord, JournalEvent, Mark

pytestmark = pytest.mark.docker

CUT = {"groups": [["n1"], ["n2", "n3"]]}
RUN = f"t{os.getpid()}"


def plan(*steps: dict[str, Any]) -> Any:
    copies = dict.fromkeys(NAMES, "ram_copies")
    return three_nodes(
        tables=[{"name": "kv", "copies": copies}, {"name": "mk", "copies": copies, "majority": True}],
        timeline=list(steps),
    )


def planned(id: str, kind: str, action: dict[str, Any], **schedule: Any) -> dict[str, Any]:
    return {"id": id, "name": "", "kind": kind, "action": action, "at": 0.0, **schedule}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    engine = find_engine()
    with Cluster.start(plan(), "", RUN, engine, lambda _: None) as started:
        yield started
    engine.close()


class Stand:
    """What one test needs: makes faults by hand, and keeps what they say."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.marks: list[str] = []
        self.discarded: dict[str, npt.NDArray[np.uint64]] = {}
        self.made: list[Fault] = []

    def fault(self, id: str, kind: str, action: dict[str, Any]) -> Fault:
        whole = plan(planned(id, kind, action))
        situation = Situation(self.cluster, whole, lambda name, _: self.marks.append(name), self.discarded.__setitem__)
        self.made.append(FAULTS[kind](whole.timeline[0], situation))
        return self.made[-1]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these tests is about how quickly the machine gets anything done."""
    limits = {partition: ("LIFETIME", "_PROOF", "_HELPER"), kill: ("_EXIT",), pause: ("_PROOF",),
              recover: ("_RPC", "_MEETING", "_PROOF")}  # fmt: skip
    for module, names in limits.items():
        for name in names:
            monkeypatch.setattr(module, name, 60.0)


@pytest.fixture
def stand(cluster: Cluster) -> Iterator[Stand]:
    stand = Stand(cluster)
    yield stand
    for fault in stand.made:
        fault.heal()
    assert standing_cuts(cluster) == frozenset()


def wait_for(met: Callable[[], bool], timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while not met():
        assert time.monotonic() < deadline, "not met in time"
        time.sleep(0.05)


def view(cluster: Cluster, name: str) -> set[str]:
    nodes = cluster.nodes[name].rpc("mnesia", "system_info", [Atom("running_db_nodes")])
    return {str(node).partition("@")[0] for node in nodes}


def one_view(cluster: Cluster) -> bool:
    return all(view(cluster, name) == set(NAMES) for name in NAMES)


def meshed(cluster: Cluster) -> bool:
    """Whether every node is connected with every other; it is asked to be."""
    names = {node.node_name for node in cluster.nodes.values()}
    for node in cluster.nodes.values():
        for other in names - {node.node_name}:
            node.rpc("net_kernel", "connect_node", [Atom(other)], timeout=10)
    return all(names <= {str(n) for n in c.rpc("erlang", "nodes")} | {c.node_name} for c in cluster.nodes.values())


def write(cluster: Cluster, name: str, table: str, id: int, context: str = "transaction") -> Any:
    row = (Atom(table), id, b"value")
    call = [Export("mnesia", "write", 1), [row]]
    node = cluster.nodes[name]
    if context == "transaction":
        return node.rpc("mnesia", "transaction", call, timeout=60)
    return node.rpc("mnesia", context, call, timeout=60)


def test_partition_bites_and_heals(stand: Stand) -> None:
    fault = stand.fault("cut", "partition", CUT)
    fault.inject()
    evidence = fault.bit()
    assert evidence.ok, evidence
    assert evidence.detail["matrix"] == {
        "n1>n2": DROPPED, "n2>n1": DROPPED, "n1>n3": DROPPED, "n3>n1": DROPPED, "n2>n3": ARRIVED, "n3>n2": ARRIVED,
    }  # fmt: skip
    assert evidence.detail["pairs"] == [["n1", "n2"], ["n1", "n3"], ["n2", "n1"], ["n3", "n1"]]
    assert standing_cuts(stand.cluster) == fault.separates
    for node in stand.cluster.nodes.values():
        assert node.rpc("erlang", "node") == node.node_name, "the harness itself is never cut off"
    fault.heal()
    evidence = fault.healed()
    assert evidence.ok, evidence
    assert set(evidence.detail["matrix"].values()) == {ARRIVED}
    assert stand.marks == []


def test_a_cut_is_renewed_for_longer_than_its_elements_live(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "LIFETIME", 8.0)
    fault = stand.fault("long", "partition", CUT)
    fault.inject()
    assert fault.bit().ok
    ends = time.monotonic() + 10.0
    while time.monotonic() < ends:
        fates = probe(stand.cluster, nft.cut_name("long"))
        seen = {pair: fate for pair, fate in fates.items() if fate != LOST}  # else it is still under way
        assert judge(seen, fault.separates).ok, fates
        time.sleep(0.3)
    assert stand.marks == []


def test_overlapping_cuts_are_lifted_one_by_one(stand: Stand) -> None:
    first = stand.fault("first", "partition", {"groups": [["n1"], ["n2"]]})
    second = stand.fault("second", "partition", CUT)
    first.inject()
    second.inject()
    assert first.bit().ok
    assert second.bit().ok
    second.heal()
    evidence = second.healed()
    assert evidence.ok
    assert evidence.detail["matrix"]["n1>n2"] == ELSEWHERE
    assert evidence.detail["matrix"]["n1>n3"] == ARRIVED
    assert standing_cuts(stand.cluster) == {("n1", "n2"), ("n2", "n1")}


def test_a_lost_cut_is_marked(stand: Stand) -> None:
    fault = stand.fault("lost", "partition", CUT)
    fault.inject()
    name, address = nft.cut_name("lost"), stand.cluster.nodes["n2"].address
    stand.cluster.nodes["n1"].helper.run(nft.command(f"delete element inet harness {name} {{ {address} }}"))
    wait_for(lambda: "renewal_missed" in stand.marks)


# The injector, to be killed: cuts n1 off through helpers found by their labels, as a run does.
CUTTER = """
import sys, threading, time
from types import SimpleNamespace
from harness.cluster.engine import find_engine
from harness.cluster.netns import Netns
from harness.faults import partition
from harness.faults.fault import Situation
from harness.scenario.plan import Plan
engine = find_engine()
plan = Plan.model_validate_json(sys.argv[1])
nodes = {}
for word in sys.argv[2:]:
    name, address, helper = word.split(",")
    nodes[name] = SimpleNamespace(name=name, address=address, helper=Netns(engine, helper, name))
partition._PROOF = partition._HELPER = 60.0
fault = partition.Partition(plan.timeline[0], Situation(SimpleNamespace(nodes=nodes), plan, print, print))
fault.inject()
print(fault.bit().ok, flush=True)
threading.Event().wait()
"""


def test_a_cut_heals_by_itself_when_its_injector_is_killed(stand: Stand) -> None:
    words = [f"{n.name},{n.address},{n.helper.container_id}" for n in stand.cluster.nodes.values()]
    whole = plan(planned("killed", "partition", CUT))
    cutter = subprocess.Popen([sys.executable, "-c", CUTTER, whole.model_dump_json(), *words], stdout=subprocess.PIPE)
    assert cutter.stdout is not None
    assert cutter.stdout.readline() == b"True\n"
    os.kill(cutter.pid, signal.SIGKILL)
    cutter.wait()
    cutter.stdout.close()
    name = nft.cut_name("killed")
    assert until(lambda: judge(probe(stand.cluster, name), frozenset()), 120).ok
    stand.fault("killed", "partition", CUT)  # healed after the test: its empty set goes


def test_kill_bites_and_heals(stand: Stand) -> None:
    fault = stand.fault("kill", "kill", {"nodes": ["n2"]})
    fault.inject()
    evidence = fault.bit()
    assert evidence.ok, evidence
    assert evidence.detail["states"] == {"n2": "exited"}
    fault.heal()
    fault.heal()
    evidence = fault.healed()
    assert evidence.ok, evidence
    assert evidence.detail["not_connected"] == {}


def test_pause_bites_and_heals(stand: Stand) -> None:
    fault = stand.fault("pause", "pause", {"nodes": ["n3"]})
    fault.inject()
    evidence = fault.bit()
    assert evidence.ok, evidence
    assert evidence.detail["answers"] == {"n3": False}
    fault.heal()
    fault.heal()
    evidence = fault.healed()
    assert evidence.ok, evidence


def test_rpc_step(stand: Stand) -> None:
    called = stand.fault("call", "rpc", {"module": "node_echo", "function": "echo", "args": [":hello"], "on": ["n1"]})
    called.inject()
    assert called.bit().detail["returned"] == {"n1": ":hello"}
    action = {"module": "erlang", "function": "abs", "args": [-3], "returns": 3}
    right = stand.fault("right", "rpc", action)
    right.inject()
    assert right.bit().ok
    wrong = stand.fault("wrong", "rpc", {**action, "returns": 3.0})
    wrong.inject()
    assert wrong.bit().detail["differs_on"] == list(NAMES)
    with pytest.raises(HarnessError, match="badarg"):
        stand.fault("broken", "rpc", {**action, "args": [":x"]}).inject()


def split(stand: Stand, base: int) -> None:
    """Cut n1 off until both sides have noticed, write ``base`` + 1 there and + 2 on the other side, heal."""
    fault = stand.fault(f"split{base}", "partition", CUT)
    fault.inject()
    assert fault.bit().ok
    wait_for(lambda: view(stand.cluster, "n1") == {"n1"} and view(stand.cluster, "n2") == {"n2", "n3"})
    write(stand.cluster, "n1", "kv", base + 1, "async_dirty")
    write(stand.cluster, "n1", "mk", base + 1, "async_dirty")
    write(stand.cluster, "n2", "kv", base + 2)
    fault.heal()
    assert fault.healed().ok


def test_recovery_of_consistent_nodes_does_nothing(stand: Stand) -> None:
    whole = stand.fault("whole", "recover", {})  # cuts and pauses that took long have left the nodes apart
    whole.inject()
    assert whole.bit().ok
    stand.discarded.clear()
    fault = stand.fault("idle", "recover", {})
    fault.inject()
    evidence = fault.bit()
    assert evidence.ok, evidence
    assert "nothing_to_do" in evidence.detail
    assert stand.discarded == {}


def test_recovery_restarts_the_minority_under_load_and_lists_what_it_discards(stand: Stand) -> None:
    split(stand, 1000)
    over = threading.Event()

    def load() -> None:
        for id in range(10_000, 1_000_000):
            if over.is_set():
                return
            write(stand.cluster, "n2", "kv", id)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        fault = stand.fault("recovery", "recover", {"mnesia": "restart_minority"})
        fault.inject()
        evidence = fault.bit()
    finally:
        over.set()
        loading.join()
    assert evidence.ok, evidence
    assert evidence.detail["winners"] == ["n2", "n3"]
    assert evidence.detail["losers"] == ["n1"]
    assert evidence.detail["discarded"]["kv"] == {"count": 1, "first": [1001]}
    assert evidence.detail["discarded"]["mk"] == {"count": 1, "first": [1001]}
    assert {table: ids.tolist() for table, ids in stand.discarded.items()} == {"kv": [1001], "mk": [1001]}
    masters = stand.cluster.nodes["n1"].rpc("mnesia", "table_info", [Atom("kv"), Atom("master_nodes")])
    assert masters == [], "masters hold for this restart only"


def test_a_named_master_wins_against_the_majority(stand: Stand) -> None:
    split(stand, 2000)
    fault = stand.fault("masters", "recover", {"mnesia": "master_nodes", "masters": ["n1"]})
    fault.inject()
    evidence = fault.bit()
    assert evidence.ok, evidence
    assert evidence.detail["losers"] == ["n2", "n3"]
    assert stand.discarded["kv"].tolist() == [2002]


def test_half_a_recovery_is_not_taken_for_one(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """{n2, n3} | {n1}: with n1 as master only n2 is restarted; then all views agree over copies that differ."""
    split(stand, 3000)
    n2 = stand.cluster.nodes["n2"]
    for _ in range(5):  # while the nodes meet again, global may still take some of them apart
        wait_for(lambda: meshed(stand.cluster))
        for function, args in (
            ("stop", []), ("set_master_nodes", [[Atom("n1@n1")]]), ("start", []),
            ("wait_for_tables", [[Atom("kv")], 10_000]), ("set_master_nodes", [[]]),
        ):  # fmt: skip
            n2.rpc("mnesia", function, args, timeout=60)
        if until(lambda: Evidence(one_view(stand.cluster), {}), 15.0).ok:
            break
    assert one_view(stand.cluster)
    monkeypatch.setattr(recover, "_PROOF", 2.0)
    fault = stand.fault("trap", "recover", {})
    fault.inject()
    evidence = fault.bit()
    assert "nothing_to_do" in evidence.detail
    assert not evidence.ok
    assert evidence.detail["lacking"]["kv: n1>n3"] == 1
    monkeypatch.setattr(recover, "_PROOF", 60.0)
    mended = stand.fault("mended", "recover", {"mnesia": "master_nodes", "masters": ["n1"]})
    mended.inject()
    assert mended.bit().ok


def test_a_timeline_on_the_clock(stand: Stand) -> None:
    events: list[JournalEvent] = []
    bus = Bus()

    def journal(event: JournalEvent) -> None:
        events.append(event)
        bus.publish(event)

    whole = plan(
        planned("cut", "partition", CUT, lasts=1.0),
        planned("call", "rpc", {"module": "erlang", "function": "node"}, at=None, after="cut"),
    )
    injector = Injector(whole, stand.cluster, journal, bus)
    injector.prepare()
    assert standing_cuts(stand.cluster) == frozenset(), "nothing of the trial stays"
    injector.start(time.monotonic_ns())
    assert injector.wait(200)
    assert injector.heal_all() == ()
    stages = [(e.step, e.stage) for e in events if isinstance(e, FaultRecord)]
    assert stages == [
        ("cut", "planned"), ("call", "planned"), ("cut", "injecting"), ("cut", "bit"), ("cut", "healing"),
        ("cut", "healed"), ("call", "injecting"), ("call", "bit"),
    ]  # fmt: skip
    assert not [e for e in events if isinstance(e, Mark)]
