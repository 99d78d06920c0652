"""Load that is not what was planned says so: workers that stand still or leave, hands on the page, users' errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from load_plans import Watched, load, rpc
from nodes import COOKIE, ErlangNode, StartErlang

from harness.errors import LoadFailed
from harness.load.children import child_environment
from harness.segments import merge_operations

pytestmark = pytest.mark.docker

WAIT = 120.0
RAISING = """
from locust import constant, task
from harness.load.user import ErlangUser

class Shopper(ErlangUser):
    wait_time = constant(0.01)

    @task
    def browse(self):
        assert self.client.rpc("erlang", "abs", [-1]) == 2, "one is not two"
"""

Begin = Callable[..., Watched]


@pytest.fixture(scope="module")
def node(start_erlang: StartErlang) -> ErlangNode:
    return start_erlang(27)


@pytest.fixture
def begin(node: ErlangNode, tmp_path: Path) -> Iterator[Begin]:
    made: list[Watched] = []

    def start(changes: dict[str, Any], **options: Any) -> Watched:
        planned = load(**{"operations": (rpc(),), "users": 4, "rate": 200.0, **changes})
        made.append(Watched.of(tmp_path, planned, [node], **options))
        made[-1].run.start()
        return made[-1]

    yield start
    for watched in made:
        watched.run.stop(2.0)
        watched.rundir.close()


def told(watched: Watched, name: str) -> dict[str, Any]:
    """The first event of this name."""
    return watched.wait(lambda w: [e.detail for e in w.events if e.name == name], WAIT)[0]  # type: ignore[no-any-return]


def pid_of(watched: Watched, role: str) -> int:
    return next(pid for pid, of in watched.rundir.recorded_children() if of == role)


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_stands_still_and_goes_on(begin: Begin) -> None:
    watched = begin({"workers": 2})
    watched.run.wait_full_load(WAIT)
    with standing_still(pid_of(watched, "locust-w1")):
        assert told(watched, "worker_silent") == {"worker": "w1", "cause": "no heartbeat"}
    assert told(watched, "worker_returned") == {"worker": "w1"}
    assert watched.run.wait_trouble(0.0) is None


def test_locust_ends_the_test_of_an_only_worker_that_stands_still(begin: Begin) -> None:
    watched = begin({})
    watched.run.wait_full_load(WAIT)
    with standing_still(pid_of(watched, "locust-w1")):
        trouble = watched.run.wait_trouble(WAIT)
    assert isinstance(trouble, LoadFailed)
    assert str(trouble) == "load: no worker is left (w1: no heartbeat)"


def test_hands_on_the_page(begin: Begin) -> None:
    watched = begin({}, web=True)
    watched.run.wait_full_load(WAIT)

    def post(page: str, **fields: object) -> None:
        data = urllib.parse.urlencode({"by": "test", **fields}).encode()
        with urllib.request.urlopen(f"{watched.run.web_url}{page}", data=data, timeout=WAIT) as answer:
            assert answer.status == 200

    post("swarm", user_count=1, spawn_rate=100, host="")
    assert told(watched, "load_failed") == {"cause": "the number of users was changed to 1"}
    post("stop")
    assert told(watched, "load_stopped") == {"by": "web page"}
    assert watched.run.wait_trouble(0.0) is None


def test_what_a_users_own_code_raises_is_no_secret(begin: Begin, tmp_path: Path) -> None:
    """An assertion about an answer that does not hold: Locust logs it, and load goes on."""
    file = tmp_path / "raising.py"
    file.write_text(RAISING)
    watched = begin({"operations": (), "rate": None, "locustfile": str(file)})
    assert told(watched, "load_failed") == {"worker": "w1", "cause": "Shopper: AssertionError: one is not two"}


@pytest.mark.parametrize(
    ("text", "said"),
    [("import no_such_module", "No module named 'no_such_module'"), ("x = 1", "bad.py has no class of users")],
)
def test_a_locustfile_that_is_none(begin: Begin, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    watched = begin({"operations": (), "rate": None, "locustfile": str(file)})
    with pytest.raises(LoadFailed, match=said):
        watched.run.wait_full_load(WAIT)


def test_a_worker_elsewhere_that_leaves_before_load_makes_room_for_another(begin: Begin, tmp_path: Path) -> None:
    watched = begin({}, remote_workers=2)
    code = f"from harness.load.remote import run_worker; import sys; sys.exit(run_worker({watched.run.master!r}))"
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def join() -> subprocess.Popen[bytes]:
        environment = child_environment() | {"HARNESS_COOKIE": COOKIE, "TMPDIR": str(folder)}
        return subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)

    def left(worker: subprocess.Popen[bytes]) -> None:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGINT)
        worker.wait(WAIT)

    workers = [join()]
    try:
        watched.wait(lambda w: [e for e in w.events if e.name == "worker_joined" and not e.detail["local"]], WAIT)
        left(workers.pop())
        gone = ("worker_lost", "worker_silent")  # it had, or had not, come so far as to say goodbye
        watched.wait(lambda w: [e for e in w.events if e.name in gone], WAIT)
        workers += [join(), join()]
        watched.run.wait_full_load(WAIT)
        watched.wait(lambda w: all(w.completed_by().get(worker, 0) > 20 for worker in ("w3", "w4")), WAIT)
        left(workers.pop())  # and in the middle of load it is told as well
        lost = [{"worker": worker, "cause": "it left"} for worker in ("w3", "w4")]
        watched.wait(lambda w: [e for e in w.events if e.name == "worker_lost" and e.detail in lost], WAIT)
        assert watched.run.wait_trouble(0.0) is None
        watched.run.stop(WAIT)
        assert workers[0].wait(WAIT) == 0
        assert len(merge_operations(watched.rundir.history)) == watched.completed(), "who leaves hands in what it has"
    finally:
        for worker in workers:
            left(worker)
