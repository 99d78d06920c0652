"""An image that has nothing of ours: the example of docs/your-own-image.md, as it is written there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from commands import Command, Ground, tiny
from images import erlang_image
from test_scenarios import Shipped

pytestmark = pytest.mark.docker

IMAGE = "harness-test-shop"
DOCUMENT = Path(__file__).parents[2] / "docs" / "your-own-image.md"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the document's three files and an image built of them."""
    folder = tmp_path_factory.mktemp("shop")
    for name, content in re.findall(r"^`([\w.]+)`[^\n]*\n\n```\w+\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S):
        (folder / name).write_text(content)
    assert {file.name for file in folder.iterdir()} == {"Dockerfile", "shop.erl", "shop.yml"}
    client = docker.from_env()
    image, _ = client.images.build(path=str(folder), tag=IMAGE, buildargs={"BASE": erlang_image(27)}, rm=True)
    yield folder
    client.images.remove(image.id, force=True)
    client.close()


@pytest.fixture(scope="module")
def run(shop: Path) -> Shipped:
    ended = Shipped(shop, "shop", "--set", f"cluster.image={IMAGE}")
    ended.end()
    return ended


def test_it_is_judged_like_our_own_node(run: Shipped) -> None:
    assert run.process.returncode == 0, run.stdout + run.stderr
    assert not Ground().left(run)
    for check, subject in (
        ("acked_lost", "kv, transaction"), ("minority_refuses", "kv, partition"), ("replica_divergence", "kv"),
        ("replica_divergence", "orders"), ("view_agreement", ""), ("lag", "transaction"), ("rpc", ""),
    ):  # fmt: skip
        assert run.finding(check, subject)["outcome"] == "pass", (check, subject)
    assert run.finding("detection", "partition")["value"] > 2.0  # the scenario's ticktime, not Erlang's


def test_its_own_table_is_compared_and_never_written(run: Shipped) -> None:
    state = run.json("final/state.json")
    orders = [replica for replica in state["replicas"] if replica["table"] == "orders"]
    assert {replica["node"] for replica in orders} == {"n1", "n2", "n3"}
    assert len({replica["digest"] for replica in orders}) == 1
    exported = Command(run.out.parent, "history", "export")
    assert exported.end() == 0
    done = [record for line in exported.stdout.splitlines() if (record := json.loads(line))["type"] == "ok"]
    ordered = sum(record["op"] == "rpc shop:order" for record in done)
    assert 0 < ordered <= orders[0]["count"]
    assert not any(record.get("table") == "orders" for record in done)


def test_what_was_measured_inside_it(run: Shipped) -> None:
    metrics = (run.folder / "metrics.om").read_text()
    assert re.search(r'harness_replication_lag_seconds_count\{.*table="kv".*\} [1-9]', metrics)
    assert {event.event for event in run.events() if event.type == "observation"} >= {
        "nodedown",
        "inconsistent_database",
    }


def test_long_names(tmp_path: Path) -> None:
    scenario: dict[str, Any] = tiny(name="long")
    scenario["cluster"] |= {"domain": "lab.example"}
    (tmp_path / "long.yml").write_text(json.dumps(scenario))
    run = Shipped(tmp_path, "long")
    assert run.end() == 0, run.stdout + run.stderr
    assert run.json("env.json")["nodes"]["n2"]["node_name"] == "n2@n2.lab.example"
    assert run.finding("acked_lost", "kv, transaction")["outcome"] == "pass"
