"""Bad days of load: the owner vanishes, the disk fills up; and workers that join from elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from disks import SmallDisk
from load_plans import Watched, load, on_table, rpc
from nodes import COOKIE, ErlangNode, StartErlang

from harness.errors import DiskFull, UsageError
from harness.history import INVOKE, OK
from harness.load.children import child_environment
from harness.segments import merge_operations, read_segment
from harness.store import RunDir, process_start

pytestmark = pytest.mark.docker

OWNER = """
import sys, threading
from pathlib import Path
sys.path[:0] = {path!r}
from load_plans import Watched, load, rpc
from nodes import ErlangNode
node = ErlangNode({otp}, {host!r}, {address!r}, None)
watched = Watched.of(Path(sys.argv[1]), load((rpc(),), workers=2, users=4), [node])
watched.run.start()
watched.run.wait_full_load()
watched.wait(lambda w: w.completed() > 100)
print(watched.rundir.path, flush=True)
threading.Event().wait()
"""


@pytest.fixture(scope="module")
def node(start_erlang: StartErlang) -> ErlangNode:
    return start_erlang(27)


def wait_gone(children: list[tuple[int, str]], seconds: float = 120.0) -> None:
    """Until none of the processes is alive (a zombie is not)."""
    deadline = time.monotonic() + seconds
    while alive := [(pid, start) for pid, start in children if process_start(pid) == start]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_owner(node: ErlangNode, tmp_path: Path, by: signal.Signals) -> None:
    """Killed or interrupted without a word of farewell: the children go by themselves, their segments are whole."""
    code = OWNER.format(path=sys.path, otp=node.otp, host=node.host, address=node.address)
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert owner.stdout is not None
        rundir = RunDir.open(Path(owner.stdout.readline().strip()))
        children = [(pid, process_start(pid)) for pid, _ in rundir.recorded_children()]
        assert len(children) == 3
        os.killpg(owner.pid, by)  # as the terminal would: the children are in sessions of their own
        owner.wait(120)
        wait_gone(children)
    finally:
        owner.kill()
        owner.wait()
    history = merge_operations(rundir.history)
    assert len(history) > 100
    assert np.count_nonzero(history.outcome == OK) >= len(history) - 4


def test_children_are_stopped_even_without_a_master(node: ErlangNode, tmp_path: Path) -> None:
    watched = Watched.of(tmp_path, load((rpc(),)), [node])
    watched.run.start()
    try:
        watched.run.wait_full_load()
        watched.wait(lambda w: w.completed() > 100)
        pids = {role: pid for pid, role in watched.rundir.recorded_children()}
        children = [(pid, process_start(pid)) for pid in pids.values()]
        os.kill(pids["locust-master"], signal.SIGKILL)
        trouble = watched.run.wait_trouble(120.0)
        assert "master" in str(trouble)
    finally:
        watched.run.stop(60.0)
        watched.rundir.close()
    wait_gone(children)
    history = merge_operations(watched.rundir.history)
    assert set(history.outcome) == {OK}


def test_disk_full_is_said_and_nothing_is_lost(node: ErlangNode, small_disk: SmallDisk) -> None:
    watched = Watched.of(small_disk("512k"), load((rpc(),), users=8), [node])
    watched.run.start()
    try:
        trouble = watched.run.wait_trouble(200.0)
        assert isinstance(trouble, DiskFull)
        assert "w1" in str(trouble)
        assert [e.detail["worker"] for e in watched.events if e.name == "disk_full"] == ["w1"]
    finally:
        watched.run.stop(60.0)
        watched.rundir.close()
    completed = watched.completed()
    invoked = read_segment(watched.rundir.segment("w1"))
    # everything that was sent is there as an invocation; what failed for want of disk was not sent
    ok = sum(op["count"] for op in watched.snapshots[-1]["ops"] if op["outcome"] == "ok")
    assert np.count_nonzero(invoked["type"] == INVOKE) >= ok
    assert completed - ok <= 8


def test_a_worker_from_elsewhere(node: ErlangNode, tmp_path: Path) -> None:
    """Joins over the network, gets everything in messages, sends its history back."""
    watched = Watched.of(tmp_path / "runs", load((rpc(),), users=4, rate=200.0), [node], remote_workers=1)
    watched.run.start()
    code = f"from harness.load.remote import run_worker; import sys; sys.exit(run_worker({watched.run.master!r}))"
    (tmp_path / "elsewhere").mkdir()
    remote = subprocess.Popen(
        [sys.executable, "-c", code],
        env=child_environment() | {"HARNESS_COOKIE": COOKIE, "TMPDIR": str(tmp_path / "elsewhere")},
        cwd=tmp_path,
    )
    try:
        watched.run.wait_full_load()
        watched.wait(lambda w: len(w.completed_by()) == 2 and min(w.completed_by().values()) > 100)
        watched.run.stop(60.0)
        assert remote.wait(120) == 0
    finally:
        remote.kill()
        remote.wait()
        watched.run.stop(2.0)
        watched.rundir.close()
    assert watched.rundir.segment("w2").exists()
    history = merge_operations(watched.rundir.history)
    assert len(history) == watched.completed()
    by_worker = np.bincount((history.id >> np.uint64(40)).astype(int))
    assert (by_worker[1:] > 100).all()  # half of the users each
    assert not list((tmp_path / "elsewhere").iterdir())


def test_users_that_never_reach_an_operation(node: ErlangNode, tmp_path: Path) -> None:
    operations = (rpc("a", on=("n1",)), on_table("write", "transaction", on=("n2",)))
    watched = Watched.of(tmp_path, load(operations, users=1), [node, node])
    with pytest.raises(UsageError, match=r"write kv transaction on n2; set load.users to 2"):
        watched.run.start()
    watched.run.stop(1.0)
    watched.rundir.close()
