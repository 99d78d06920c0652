"""Atoms are never collected: what we do to a node, however often, may not add one after the first time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nodes import COOKIE, ErlangNode, StartErlang

from harness.dist import Connection
from harness.errors import CallTimeout, HandshakeRefused, NoSuchNode, NotSent, RemoteError
from harness.etf import Atom
from harness.load.children import child_environment

pytestmark = pytest.mark.docker

RECONNECTS = 500
USER = """
import gevent
from harness.load.user import ErlangUser
from locust import constant, task

class Caller(ErlangUser):
    wait_time = constant(0.01)

    @task
    def call(self):
        self.client.rpc("erlang", "abs", [-1])
        if self.environment.stats.num_requests == 20:
            gevent.spawn(self.environment.runner.quit)  # not in the user it is about to stop
"""


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    """With all modules of kernel and stdlib loaded, and all their atoms: no rare path adds any later."""
    made: ErlangNode = start_erlang(request.param)
    link = made.connect(local="loader@harness")
    for application in ("kernel", "stdlib"):
        _, modules = link.rpc("application", "get_key", [Atom(application), Atom("modules")])
        assert link.rpc("code", "ensure_modules_loaded", [modules], timeout=60.0) == "ok"
    link.close()
    return made


@pytest.fixture
def watcher(node: ErlangNode) -> Iterator[Connection]:
    connection = node.connect(local="watcher@harness")
    yield connection
    connection.close()


def atoms(watcher: Connection) -> int:
    count: int = watcher.rpc("erlang", "system_info", [Atom("atom_count")])
    return count


def adds_no_atom(watcher: Connection, once: Callable[[], None], times: int, settled: int = 5) -> None:
    """The first times may add atoms (a name, what the node meets for the first time); once `settled` have not, none."""
    before, flat = -1, 0
    for _ in range(10 * settled):
        once()
        now = atoms(watcher)
        before, flat = now, flat + 1 if now == before else 0
        if flat == settled:
            break
    assert flat == settled, "still growing"
    for _ in range(times):
        once()
    assert atoms(watcher) == before


def test_reconnects(node: ErlangNode, watcher: Connection) -> None:
    def reconnect() -> None:
        connection = node.connect(local="again@harness")
        assert connection.rpc("erlang", "abs", [-1]) == 1
        assert connection.erpc("erlang", "abs", [-1]) == 1
        connection.close()

    adds_no_atom(watcher, reconnect, RECONNECTS)


def test_refused_connections(node: ErlangNode, watcher: Connection) -> None:
    def refused() -> None:
        with pytest.raises(HandshakeRefused):
            node.connect(local="refused@harness", cookie="wrong")
        with pytest.raises(NoSuchNode):
            node.connect(local="refused@harness", peer=f"nobody@{node.host}")
        with pytest.raises(HandshakeRefused):
            node.connect(local="refused@harness", peer=f"nobody@{node.host}", port=distribution_port(watcher, node))

    adds_no_atom(watcher, refused, 5)


def distribution_port(link: Connection, node: ErlangNode) -> int:
    port: int = link.rpc("erl_epmd", "port_please", [list(node.host.encode()), Atom("localhost")])[1]
    return port


def test_calls_of_every_module_and_outcome(watcher: Connection) -> None:
    modules = [str(module) for module, _ in watcher.rpc("code", "all_loaded")]
    assert len(modules) > 50

    def calls() -> None:
        for call in (watcher.rpc, watcher.erpc):
            for module in modules:
                call(module, "module_info", [Atom("exports")])
            with pytest.raises(RemoteError):
                call("erlang", "error", [Atom("boom")])
            with pytest.raises(RemoteError):
                call("erlang", "exit", [("a", "reason")])
            with pytest.raises(RemoteError):
                call("no_such_module", "no_such_function")
            with pytest.raises((CallTimeout, NotSent)):
                call("timer", "sleep", [Atom("infinity")], timeout=0.01)
        watcher.cast("erlang", "abs", [-1])
        watcher.send_named("nobody_has_this_name", "text")

    adds_no_atom(watcher, calls, 5)


def test_runs_of_a_locust_user(node: ErlangNode, watcher: Connection, tmp_path: Path) -> None:
    """Worker after worker, each a process of its own."""
    (tmp_path / "user.py").write_text(USER)

    def run() -> None:
        done = subprocess.run(
            [
                sys.executable, "-m", "locust", "--headless", "-f", tmp_path / "user.py", "--json",
                f"--host={node.name}/{node.address}", "--users=3", "--spawn-rate=3",
            ],
            env=child_environment() | {"HARNESS_COOKIE": COOKIE}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        [told] = json.loads(done.stdout)
        assert told["num_requests"] >= 20
        assert not told["num_failures"], done.stderr

    adds_no_atom(watcher, run, 1, settled=1)
