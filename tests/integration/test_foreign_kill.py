"""A node of an image that has nothing of ours, killed and restarted: what the harness gave it, it gets again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from commands import wait_until
from images import erlang_image
from plans import NAMES, three_nodes

from harness.cluster.cluster import Cluster
from harness.cluster.engine import find_engine
from harness.etf import Atom
from harness.faults.fault import Situation
from harness.faults.kill import Kill
from harness.probes.install import install

pytestmark = pytest.mark.docker

RUN = f"f{os.getpid()}"
ERL = "erl -noinput -sname {node_name} -setcookie {cookie}"  # neither connects nor starts Mnesia


@pytest.fixture(params=["ram_copies", "disc_copies"])
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, Situation]]:
    kill = {"id": "s1", "name": "", "kind": "kill", "at": 0.0, "lasts": 1.0, "action": {"nodes": ["n2"]}}
    tables = [{"name": "kv", "copies": dict.fromkeys(NAMES, request.param), "majority": True}]
    plan = three_nodes(tables=tables, timeline=[kill])
    foreign: dict[str, Any] = {"image": erlang_image(27), "otp": None, "command": ERL, "environment": {}}
    plan = plan.model_copy(update={"nodes": tuple(node.model_copy(update=foreign) for node in plan.nodes)})
    engine = find_engine()
    with Cluster.start(plan, "", RUN, engine, lambda _: None) as started:
        install(started)
        yield started, Situation(started, plan, lambda *_: None, lambda *_: None)
    engine.close()


@pytest.mark.parametrize("killed", [("n2",), NAMES], ids=["one", "all"])
def test_a_killed_node_is_in_mnesia_again(cluster: tuple[Cluster, Situation], killed: tuple[str, ...]) -> None:
    started, situation = cluster
    nodes = started.nodes
    assert nodes["n1"].rpc("mnesia", "dirty_write", [(Atom("kv"), 1, 1)]) == "ok"
    for name in NAMES:  # a SIGKILL takes what only waits to be written
        wait_until(partial(rows, started, name), f"the row on {name}")
        nodes[name].rpc("mnesia", "sync_log")
    action = situation.plan.timeline[0].action.model_copy(update={"nodes": killed})
    fault = Kill(situation.plan.timeline[0].model_copy(update={"action": action}), situation)
    fault.inject()
    assert fault.bit().ok
    fault.heal()
    evidence = fault.healed()
    assert evidence.ok, evidence.detail
    for name in NAMES:
        running = {str(node) for node in nodes[name].rpc("mnesia", "system_info", [Atom("running_db_nodes")])}
        assert running == {"n1@n1", "n2@n2", "n3@n3"}, name
        kept = len(killed) == 1 or nodes[name].rpc("mnesia", "system_info", [Atom("use_dir")]) is True
        assert rows(started, name) == (1 if kept else 0), name


def rows(cluster: Cluster, name: str) -> int:
    """In the node's own copy."""
    size = cluster.nodes[name].rpc("ets", "info", [Atom("kv"), Atom("size")])
    assert isinstance(size, int)
    return size
