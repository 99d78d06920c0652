"""Clusters that never form, are interrupted, share the host, or can't be dialled: one clear line, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from commands import wait_until
from images import erlang_image
from plans import three_nodes

from harness.cluster.cluster import Cluster
from harness.cluster.engine import Engine, find_engine
from harness.cluster.image import use_image
from harness.cluster.labels import HOST, OWNER, labels, this_host
from harness.cluster.network import create_network
from harness.cluster.sweep import clean, find_runs, remove_run
from harness.errors import ClusterNotFormed, EnvironmentProblem, HarnessError, ImageMissing
from harness.etf import Atom
from harness.scenario.plan import Plan

pytestmark = pytest.mark.docker

ERL = "erl -noinput -sname {node_name} -setcookie {cookie}"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = find_engine()
    yield engine
    engine.close()


@pytest.fixture
def run_id(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    """An id of a run, of which nothing is left when the test ends."""
    run_id = f"b{os.getpid()}-{abs(hash(request.node.name)) % 10_000}"
    yield run_id
    left = find_runs(engine).get(run_id)
    if left is not None:
        remove_run(engine, run_id)
    assert left is None


def two_nodes(command: str | tuple[str, ...] | None = ERL, **changes: Any) -> Plan:
    """Two nodes: of a bare Erlang image with this command, or ours when it is None."""
    plan = three_nodes(tables=[{"name": "kv", "copies": dict.fromkeys(("n1", "n2"), "ram_copies"), "majority": True}])
    foreign = {"image": erlang_image(27), "otp": None, "command": command, "environment": {}}
    nodes = tuple(node.model_copy(update=foreign if command else {}) for node in plan.nodes[:2])
    return plan.model_copy(update={"nodes": nodes, "ready_within": 200.0, **changes})


def refused(engine: Engine, run_id: str, plan: Plan) -> HarnessError:
    with pytest.raises(HarnessError) as raised:
        Cluster.start(plan, "", run_id, engine, lambda _: None)
    assert raised.value.exit_code == 4
    assert "\n" not in str(raised.value)
    return raised.value


def test_another_s_image_needs_nothing_of_ours(engine: Engine, run_id: str) -> None:
    with Cluster.start(two_nodes(), "", run_id, engine, lambda _: None) as cluster:
        written = cluster.nodes["n1"].rpc("mnesia", "dirty_write", [(Atom("kv"), 1, b"value")])
        assert written == "ok"
        assert cluster.nodes["n2"].rpc("ets", "lookup", [Atom("kv"), 1]) == [(Atom("kv"), 1, b"value")]
        assert cluster.nodes["n2"].rpc("net_kernel", "get_net_ticktime") == 4


def test_an_address_to_expose_on_that_is_not_the_host_s(engine: Engine, run_id: str) -> None:
    with pytest.raises(EnvironmentProblem) as raised:  # of the range for documentation
        Cluster.start(two_nodes(), "", run_id, engine, lambda _: None, expose="203.0.113.9")
    assert str(raised.value).startswith("--expose: 203.0.113.9 is no address of the engine's host; ")


def test_a_node_that_exits_shows_its_last_lines(engine: Engine, run_id: str) -> None:
    error = refused(engine, run_id, two_nodes(("sh", "-c", "echo reading config; echo no such key >&2; exit 7")))
    assert isinstance(error, ClusterNotFormed)
    assert error.node in ("n1", "n2")
    assert "status 7" in error.cause
    assert "reading config" in error.cause  # the engine keeps no order between the two streams
    assert "no such key" in error.cause


def test_a_wrong_cookie_is_called_that(engine: Engine, run_id: str) -> None:
    error = refused(engine, run_id, two_nodes(ERL.replace("{cookie}", "other")))
    assert isinstance(error, ClusterNotFormed)
    assert "another cookie" in error.cause


def test_a_kernel_parameter_that_did_not_arrive_is_told(engine: Engine, run_id: str) -> None:
    stubborn = ("sh", "-c", "unset ERL_ZFLAGS; exec " + ERL + " -kernel inet_dist_listen_min 9100")
    error = refused(engine, run_id, two_nodes((*stubborn[:2], stubborn[2] + " inet_dist_listen_max 9100")))
    assert error.cause == "net_ticktime is 60, the scenario says 4"


def test_a_node_that_never_listens_is_given_up(engine: Engine, run_id: str) -> None:
    error = refused(engine, run_id, two_nodes("sleep 1000", ready_within=1.0))
    assert isinstance(error, ClusterNotFormed)
    assert "not ready within 1 s" in error.cause


def test_no_such_image(engine: Engine) -> None:
    with pytest.raises(ImageMissing, match="image nosuch/app:1: it is not here and can't be pulled") as raised:
        use_image(engine, "nosuch/app:1")
    assert raised.value.exit_code == 4


def test_ctrl_c_in_the_middle_of_a_start_leaves_nothing(engine: Engine, run_id: str) -> None:
    def interrupt(said: str) -> None:
        if "nodes started" in said:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            Cluster.start(two_nodes(), "", run_id, engine, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_clusters_at_once_do_not_touch_each_other(engine: Engine, run_id: str) -> None:
    started: list[Cluster] = []

    def start(other: str) -> None:
        started.append(Cluster.start(two_nodes(tables=()), "", other, engine, lambda _: None))

    runs = [run_id, f"{run_id}-other"]
    threads = [threading.Thread(target=start, args=(name,)) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sorted(started, key=lambda cluster: runs.index(cluster.run_id))
    try:
        assert first.subnet != second.subnet
        first.remove()
        first.remove()
        assert run_id not in find_runs(engine)
        assert second.nodes["n1"].rpc("erlang", "nodes") == ["n2@n2"]
    finally:
        second.remove()


def test_a_relay_publishes_what_the_bridge_does_not(
    engine: Engine, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_FORCE_RELAY", "1")
    with Cluster.start(two_nodes(None), "", run_id, engine, lambda _: None) as cluster:
        for target in cluster.load_targets():
            assert target.host == "127.0.0.1"
            assert target.port != 9100
        node = cluster.nodes["n1"]
        node.kill()
        node.start()
        node.wait_ready(200.0)
        wait_until(lambda: node.rpc("erlang", "nodes") == ["n2@n2"], "the nodes' connection")
        (relay,) = engine.client.api.containers(filters={"label": [f"harness.run={run_id}", "harness.role=relay"]})
        assert relay["State"] == "running"


def test_an_exposed_cluster_is_dialled_at_the_given_address(engine: Engine, run_id: str) -> None:
    with Cluster.start(two_nodes(tables=()), "", run_id, engine, lambda _: None, expose="127.0.0.2") as cluster:
        assert {target.host for target in cluster.load_targets()} == {"127.0.0.2"}


def test_clean_removes_what_a_dead_run_left_and_nothing_else(engine: Engine, run_id: str) -> None:
    program = (
        "import sys; from harness.cluster.engine import find_engine;"
        "from harness.cluster.network import create_network;"
        "create_network(find_engine(), sys.argv[1], '', 3, internal=True)"
    )
    subprocess.run([sys.executable, "-c", program, run_id], check=True)
    create_network(engine, f"{run_id}-live", "", 3, internal=True)
    try:
        assert next(iter(clean(engine, run_id=f"{run_id}-live"))).endswith("--force removes it")
        assert list(clean(engine, run_id=run_id)) == [f"{run_id}: removed 1 network"]
        assert list(clean(engine, run_id=run_id)) == [f"{run_id}: nothing left"]
        assert f"{run_id}-live" in find_runs(engine)
        assert next(iter(clean(engine, run_id=f"{run_id}-live", force=True))).endswith("removed 1 network")
    finally:
        remove_run(engine, f"{run_id}-live")


def test_a_run_of_another_host_is_not_swept(engine: Engine, run_id: str) -> None:
    name, boot, pids = this_host().split("/")
    told = {**labels(run_id, "network"), HOST: f"not-{name}/{boot}/{pids}", OWNER: "1:1"}
    engine.client.api.create_volume(f"harness-{run_id}-v", labels=told)
    try:
        (line,) = clean(engine, run_id=run_id)
        assert "another host" in line
    finally:
        remove_run(engine, run_id)


def test_a_full_range_of_subnets_is_an_environment_problem(
    engine: Engine, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cluster.network.free_subnets", lambda *_: iter(()))
    with pytest.raises(EnvironmentProblem, match="no free subnet"):
        create_network(engine, run_id, "", 3, internal=True)
