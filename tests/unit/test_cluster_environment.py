"""What a node is told, as pure data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plans import three_nodes

from harness.cluster.environment import filled, hosts, node_binds, node_command, node_environment, tables_text, zflags
from harness.scenario.plan import Plan


def plan_with(**changes: Any) -> Plan:
    """Three nodes whose first one is another's image with these settings."""
    plan = three_nodes()
    first = plan.nodes[0].model_copy(update={"image": "shop:1", "otp": None, **changes})
    return plan.model_copy(update={"nodes": (first, *plan.nodes[1:])})


def test_our_node_takes_everything_from_its_own_variables() -> None:
    plan = three_nodes()
    told = node_environment(plan, plan.nodes[0], "secret", 9100)
    assert told["NODE_NAME"] == "n1@n1"
    assert told["NODE_COOKIE"] == "secret"
    assert told["NODE_TICKTIME"] == "4"
    assert told["NODE_PEERS"] == "n1@n1,n2@n2,n3@n3"
    assert told["NODE_DIST_MIN"] == told["NODE_DIST_MAX"] == "9100"
    assert "ERL_ZFLAGS" not in told


def test_another_image_takes_kernel_parameters_from_zflags() -> None:
    plan = plan_with(environment={"RELEASE_COOKIE": "{cookie}", "ERL_ZFLAGS": "+P 1000"})
    told = node_environment(plan, plan.nodes[0], "secret", 9100)
    assert told["RELEASE_COOKIE"] == "secret"
    assert told["ERL_ZFLAGS"].startswith("+P 1000 -kernel net_ticktime 4 ")
    assert "-kernel prevent_overlapping_partitions true" in told["ERL_ZFLAGS"]
    assert "-kernel inet_dist_listen_min 9100 -kernel inet_dist_listen_max 9109" in told["ERL_ZFLAGS"]
    assert "NODE_TICKTIME" not in told


def test_setup_time_travels_in_zflags_for_every_node() -> None:
    plan = three_nodes()
    plan = plan.model_copy(update={"kernel": plan.kernel.model_copy(update={"net_setuptime": 3})})
    assert zflags(plan, plan.nodes[0], 9100) == "-kernel net_setuptime 3"


def test_tls_travels_in_zflags_for_every_node() -> None:
    flags = "-proto_dist inet_tls -ssl_dist_optfile /etc/harness-tls/ssl_dist.conf"
    ours = three_nodes().model_copy(update={"tls": True})
    assert node_environment(ours, ours.nodes[0], "secret", 9100)["ERL_ZFLAGS"] == flags
    foreign = plan_with().model_copy(update={"tls": True})
    told = node_environment(foreign, foreign.nodes[0], "secret", 9100)["ERL_ZFLAGS"]
    assert told.startswith("-kernel net_ticktime 4 ")
    assert told.endswith(f" {flags}")


def test_placeholders_are_filled_and_other_braces_left() -> None:
    node = three_nodes().nodes[1]
    assert filled("{node_name} {host} {node} {cookie} {other} {}", node, "c") == "n2@n2 n2 n2 c {other} {}"


def test_a_command_is_words_or_text_or_the_image_s_own() -> None:
    node = three_nodes().nodes[0]
    assert node_command(node, "c") is None
    assert node_command(node.model_copy(update={"command": "erl -sname '{node_name}'"}), "c") == [
        "erl", "-sname", "n1@n1",
    ]  # fmt: skip
    assert node_command(node.model_copy(update={"command": ("sh", "-c", "a b")}), "c") == ["sh", "-c", "a b"]


def test_named_volumes_belong_to_the_run_and_relative_paths_to_the_scenario(tmp_path: Path) -> None:
    plan = plan_with(volumes=("data-{node}:/var/lib", "./conf:/etc/app:ro", "/abs:/abs"))
    plan = plan.model_copy(update={"source": str(tmp_path / "s.yml")})
    binds, volumes = node_binds(plan, plan.nodes[0], "r1")
    assert binds == ["harness-r1-data-n1:/var/lib", f"{tmp_path}/conf:/etc/app:ro", "/abs:/abs"]
    assert volumes == ["harness-r1-data-n1"]


def test_tables_are_erlang_terms() -> None:
    plan = three_nodes(tables=[
        {"name": "kv", "copies": {"n1": "ram_copies", "n2": "disc_copies", "n3": "ram_copies"}, "majority": True},
        {"name": "it's", "copies": {"n3": "disc_only_copies"}},
    ])  # fmt: skip
    assert tables_text(plan) == (
        "[{'kv', [{ram_copies, ['n1@n1', 'n3@n3']}, {disc_copies, ['n2@n2']}, {majority, true}]}, "
        r"{'it\'s', [{disc_only_copies, ['n3@n3']}, {majority, false}]}]"
    )


def test_hosts_name_every_node_and_the_harness() -> None:
    addresses = {"n1": "198.18.0.16", "n2": "198.18.0.17", "n3": "198.18.0.18"}
    assert hosts(three_nodes(), addresses, "198.18.0.1") == {**addresses, "harness": "198.18.0.1"}


def test_hosts_know_the_harness_under_its_long_name_too() -> None:
    addresses = {"n1": "198.18.0.16", "n2": "198.18.0.17", "n3": "198.18.0.18"}
    known = hosts(plan_with(host="n1.lab.example"), addresses, "198.18.0.1")
    assert known["harness"] == known["harness.lab.example"] == "198.18.0.1"
