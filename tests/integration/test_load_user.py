"""A locustfile of one's own: with plain Locust, and as the load of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from load_plans import Watched, load
from nodes import COOKIE, ErlangNode, StartErlang

from harness.data import data_path
from harness.etf import Atom
from harness.history import FAIL, OK
from harness.load.children import child_environment
from harness.segments import merge_operations

pytestmark = pytest.mark.docker

SHOP = data_path("scenarios") / "shop.py"
LOCUST = (sys.executable, "-m", "locust", "--headless", "-f")
FAILING = """
from locust import constant, task
from harness.load.user import CallFailed, ErlangUser

class Unlucky(ErlangUser):
    wait_time = constant(0.01)

    @task
    def both(self):
        try:
            self.client.write("no_such_table", "x")
        except CallFailed as error:
            assert (error.outcome, error.reason) == ("fail", "no_exists"), error
        self.client.rpc("erlang", "abs", [-1], name="one")
        self.client.rpc("no_such_module", "f", name="two")
        assert False, "not reached: the call before has ended the task"
"""

UNTIL = """
import gevent
from locust import events

@events.init.add_listener
def quit_after_300_requests(environment, **_):
    def quit(**_):
        if environment.stats.num_requests == 300:
            gevent.spawn(environment.runner.quit)  # not in the user it is about to stop
    environment.events.request.add_listener(quit)
"""


@pytest.fixture(scope="module")
def nodes(start_erlang: StartErlang) -> list[ErlangNode]:
    """Two nodes of their own, each with a table kv."""
    both = [start_erlang(27), start_erlang(25)]
    for node in both:
        connection = node.connect(local="setup@harness")
        assert connection.rpc("mnesia", "start", timeout=60.0) == "ok"
        options = [(Atom("ram_copies"), [Atom(node.name)])]
        assert connection.rpc("mnesia", "create_table", [Atom("kv"), options], timeout=60.0)[0] == "atomic"
        connection.close()
    return both


@pytest.fixture
def node(nodes: list[ErlangNode]) -> ErlangNode:
    return nodes[0]


def plain_locust(file: Path, node: ErlangNode, folder: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Statistics by name, and the log, of a headless run of 300 requests."""
    until = folder / "until.py"
    until.write_text(UNTIL)
    done = subprocess.run(
        [*LOCUST, f"{file},{until}", f"--host={node.name}/{node.address}", "--users=3", "--spawn-rate=3", "--json"],
        env=child_environment() | {"HARNESS_COOKIE": COOKIE},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    return {entry["name"]: entry for entry in json.loads(done.stdout)}, done.stderr


def test_plain_locust(node: ErlangNode, tmp_path: Path) -> None:
    told, log = plain_locust(SHOP, node, tmp_path)
    assert set(told) == {"lists:seq/2", "otp release", "write kv transaction", "read kv async_dirty"}, log
    assert all(entry["num_requests"] and not entry["num_failures"] for entry in told.values())


def test_errors_are_locust_failures(node: ErlangNode, tmp_path: Path) -> None:
    file = tmp_path / "unlucky.py"
    file.write_text(FAILING)
    told, log = plain_locust(file, node, tmp_path)
    failures = {name: (entry["num_failures"], entry["num_requests"]) for name, entry in told.items()}
    assert failures["one"][0] == 0 < failures["one"][1], log
    assert failures["two"][0] == failures["two"][1] > 0
    assert failures["write no_such_table transaction"][0] > 0
    assert "AssertionError" not in log
    assert "unknown: badrpc_undef" in log


def test_no_cookie_is_said(node: ErlangNode) -> None:
    done = subprocess.run(
        [*LOCUST, SHOP, f"--host={node.name}", "--run-time=1s"],
        env=child_environment() | {"HARNESS_COOKIE": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "no cookie; set the class attribute or HARNESS_COOKIE" in done.stderr


def test_in_a_run(nodes: list[ErlangNode], tmp_path: Path) -> None:
    planned = load((), users=6, workers=2, locustfile=str(SHOP))
    watched = Watched.of(tmp_path, planned, nodes)
    try:
        watched.run.start()
        watched.run.wait_full_load()
        watched.wait(lambda w: w.completed() > 200)
        watched.run.stop(60.0)
    finally:
        watched.run.stop(1.0)
        watched.rundir.close()
    history = merge_operations(watched.rundir.history)
    assert len(history) == watched.completed()
    assert set(history.outcome) == {OK}, history.reasons
    assert set(history.targets) == {"n1", "n2"}  # assigned round robin over all users
    kinds = {(o.kind, o.table, o.context) for o in history.operations}
    assert kinds == {("rpc", "", ""), ("write", "kv", "transaction"), ("read", "kv", "async_dirty")}
    writes = history.where(history.of_kind("write"))
    assert (writes.key == writes.id.astype("int64")).all()
    assert FAIL not in writes.outcome
