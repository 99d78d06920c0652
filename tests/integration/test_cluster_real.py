"""A started cluster: what its containers are, and what can be done to a node. One cluster for the module."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import wait_until
from plans import NAMES, three_nodes
from terminal import typed

from harness.cluster.cluster import Cluster
from harness.cluster.console import console_command
from harness.cluster.engine import Engine, find_engine
from harness.cluster.image import ensure_helper_image, ensure_node_image
from harness.cluster.kernel import probe_kernel
from harness.cluster.sweep import clean, find_runs
from harness.errors import EnvironmentProblem, HelperFailed, NotSent
from harness.etf import Atom

pytestmark = pytest.mark.docker

RUN = f"c{os.getpid()}"
TABLES = [
    {"name": "kv", "copies": dict.fromkeys(NAMES, "ram_copies"), "majority": True},
    {"name": "kept", "copies": {"n1": "disc_copies", "n2": "disc_only_copies"}},
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = find_engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cluster(engine: Engine) -> Iterator[Cluster]:
    plan = three_nodes(tables=TABLES)
    older = plan.nodes[1].model_copy(update={"otp": 25})
    plan = plan.model_copy(update={"nodes": (plan.nodes[0], older, plan.nodes[2])})
    with Cluster.start(plan, "", RUN, engine, print) as started:
        yield started
    assert RUN not in find_runs(engine)


def test_it_is_one_cluster_of_two_releases_with_its_tables(cluster: Cluster) -> None:
    assert cluster.otp == "25, 27"
    for node in cluster.nodes.values():
        others = {f"{name}@{name}" for name in NAMES} - {node.node_name}
        assert {str(name) for name in node.rpc("erlang", "nodes")} == others
        assert node.rpc("mnesia", "table_info", [Atom("kv"), Atom("majority")]) is True
    assert cluster.nodes["n2"].rpc("mnesia", "table_info", [Atom("kept"), Atom("storage_type")]) == "disc_only_copies"


def test_nodes_have_no_capability_and_helpers_have_net_admin(cluster: Cluster, engine: Engine) -> None:
    for node in cluster.nodes.values():
        container = engine.client.api.inspect_container(node.container_id)
        helper = engine.client.api.inspect_container(node.helper.container_id)
        assert not container["HostConfig"]["CapAdd"]
        assert container["HostConfig"]["Init"] is True
        assert container["HostConfig"]["Memory"] == 2**28
        assert container["HostConfig"]["NetworkMode"] == f"container:{node.helper.container_id}"
        assert helper["HostConfig"]["CapAdd"] in (["NET_ADMIN"], ["CAP_NET_ADMIN"])
        assert helper["Config"]["Hostname"] == node.host
        for told in (container, helper):
            assert told["Config"]["Labels"]["harness.run"] == RUN
            assert told["HostConfig"]["RestartPolicy"]["Name"] in ("no", "")
    network = engine.client.networks.get(cluster.network_name).attrs
    assert network["Internal"] is True
    assert network["Labels"]["harness.role"] == "network"


def test_names_are_known_without_docker_s_dns(cluster: Cluster) -> None:
    hosts = cluster.nodes["n1"].helper.run("cat /etc/hosts")
    for node in cluster.nodes.values():
        assert f"{node.address}\t{node.host}" in hosts
    assert f"{cluster.gateway}\tharness" in hosts


def test_kill_and_start_keep_address_name_and_rules(cluster: Cluster) -> None:
    node = cluster.nodes["n3"]
    node.helper.run("nft add table ip kept_by_the_test")
    node.kill()
    node.kill()
    assert node.state() == "exited"
    with pytest.raises(NotSent):
        node.rpc("erlang", "node")
    node.start()
    node.wait_ready(200.0)
    assert node.rpc("erlang", "node") == node.node_name
    assert "kept_by_the_test" in node.helper.run("nft list tables")
    node.helper.run("nft delete table ip kept_by_the_test")


def test_pause_and_stop(cluster: Cluster) -> None:
    node = cluster.nodes["n3"]
    node.pause()
    node.pause()
    assert node.state() == "paused"
    node.unpause()
    node.unpause()
    assert node.state() == "running"
    node.stop()
    assert node.state() == "exited"
    assert "SIGTERM" in node.logs(5)
    node.start()
    node.wait_ready(200.0)


def test_a_helper_s_shell_says_what_went_wrong_and_goes_on(cluster: Cluster) -> None:
    helper = cluster.nodes["n1"].helper
    with pytest.raises(HelperFailed, match="exit status 3"):
        helper.run("exit 3")
    with pytest.raises(HelperFailed, match="cannot access '/nowhere'"):
        helper.run("ls /nowhere")
    with pytest.raises(HelperFailed, match="unexpected EOF"):
        helper.run("echo 'never closed")
    with pytest.raises(HelperFailed, match=r"not done within 0\.2 s"):
        helper.run("sleep 100", timeout=0.2)
    assert helper.run("cat; echo to stderr >&2; echo 'two\nlines'", timeout=60.0) == "two\nlines\n"
    assert len(helper.run("seq 200000", timeout=60.0)) == 1288895
    wait_until(lambda: helper.run("cat /proc/[0-9]*/comm || true").count("sleep\n") == 1, "the helper's own alone")


def test_a_helper_s_shell_serves_many_threads_and_comes_back_after_a_loss(cluster: Cluster) -> None:
    helper = cluster.nodes["n2"].helper
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: said.append(helper.run(f"echo {n}", timeout=60.0))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said, key=int) == [f"{n}\n" for n in range(20)]
    with pytest.raises(HelperFailed):
        helper.run("kill -KILL $$")
    assert helper.run("echo back") == "back\n"


def test_logs_are_saved_whole(cluster: Cluster, tmp_path: Path) -> None:
    cluster.save_logs(tmp_path / "logs")
    for name in NAMES:
        assert "ready: nodes" in (tmp_path / "logs" / f"{name}.log").read_text()


def test_clean_leaves_a_living_run_alone(cluster: Cluster, engine: Engine) -> None:
    (line,) = clean(engine, run_id=RUN)
    assert line.startswith(f"{RUN}: skipped (6 containers, 1 network)")
    assert cluster.nodes["n1"].state() == "running"


def test_an_operator_s_shell(cluster: Cluster, engine: Engine) -> None:
    shown = typed(
        console_command(engine, RUN),
        [("1> ", "lists:sort([node() | nodes()]).\r"), ("2> ", "nodes(hidden).\r"), ("3> ", "\x07"), ("--> ", "q\r")],
    )
    assert "[n1@n1,n2@n2,n3@n3]" in shown.replace("'", "").replace(" ", "")
    assert cluster.cookie not in " ".join(console_command(engine, RUN))
    with pytest.raises(EnvironmentProblem, match="no node of run nosuch is running"):
        console_command(engine, "nosuch")


@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize(
    "leave", [[("1> ", "\x07"), ("--> ", "q\r")], [("1> ", "\x03"), ("(v)ersion", "\x03")]], ids=["ctrl-g", "ctrl-c"]
)
def test_a_shell_says_how_to_leave_it_and_leaving_spares_the_node(
    cluster: Cluster, engine: Engine, node: str, leave: list[tuple[str, str]]
) -> None:
    """On OTP 27 and 25: q() there is the node's own init:stop()."""
    before = cluster.nodes[node].rpc("os", "getpid")
    shown = typed(console_command(engine, RUN, node), leave)
    name = f"{node}@{node}"
    told = f"This shell is {name}'s: Ctrl-G then q, or Ctrl-C twice, leaves it; q() would stop {name}."
    assert told in shown.partition("1> ")[0]
    assert cluster.nodes[node].rpc("os", "getpid") == before
    assert cluster.nodes[node].rpc("init", "get_status") == (Atom("started"), Atom("started"))


def test_an_unchanged_image_is_not_built_again(cluster: Cluster, engine: Engine) -> None:
    said: list[str] = []
    assert ensure_node_image(engine, 27, "", said.append) == cluster.nodes["n1"].image
    ensure_helper_image(engine, said.append)
    assert said == []


def test_the_kernel_is_asked_by_trying(engine: Engine) -> None:
    found = probe_kernel(engine)
    assert found.sets_with_timeout
    assert "doctor" not in find_runs(engine)
