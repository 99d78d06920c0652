"""SIGKILL of the owner in the middle of a cut: the watchdog ends the children and removes the cluster."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster.engine import Engine, find_engine
from harness.cluster.sweep import find_runs, remove_run
from harness.history import FaultRecord, Mark, read_events

pytestmark = pytest.mark.docker

# A run as far as it concerns the watchdog: folder, watchdog, cluster, a child, a cut in force.
OWNER = """
import subprocess, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from plans import three_nodes
from harness.bus import Bus
from harness.cluster.cluster import Cluster
from harness.cluster.engine import find_engine
from harness.faults.inject import Injector
from harness.faults.watchdog import start_watchdog
from harness.history import FaultRecord
from harness.store import RunDir
cut = {"id": "cut", "name": "", "kind": "partition", "at": 0.0, "action": {"groups": [["n1"], ["n2", "n3"]]}}
plan = three_nodes(timeline=[cut])
rundir, engine, bus = RunDir.create(Path(sys.argv[1]), plan), find_engine(), Bus()
watchdog = start_watchdog(rundir, engine)
print(rundir.path, watchdog.pid, flush=True)
cluster = Cluster.start(plan, "", rundir.run_id, engine, lambda _: None)
child = subprocess.Popen(["sleep", "600"])
rundir.record_child(child.pid, "worker")
def journal(event):
    rundir.journal(event)
    bus.publish(event)
Injector(plan, cluster, journal, bus, rundir).start(time.monotonic_ns())
bus.wait_for(lambda e: isinstance(e, FaultRecord) and e.stage == "bit", 200)
print(child.pid, flush=True)
threading.Event().wait()
"""


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = find_engine()
    yield found
    found.close()


def test_the_watchdog_cleans_up_after_a_killed_owner(engine: Engine, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(Path(__file__).parents[1])], stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    folder, watchdog = owner.stdout.readline().decode().split()
    run_id = folder.rsplit("-", 1)[1]
    watched = os.pidfd_open(int(watchdog))
    try:
        child = os.pidfd_open(int(owner.stdout.readline()))
        assert run_id in find_runs(engine)
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        assert select.select([child], [], [], 120)[0], "the child ends"
        assert select.select([watched], [], [], 120)[0], "the watchdog ends"
        os.close(child)
        assert run_id not in find_runs(engine)
    finally:
        os.close(watched)
        owner.kill()
        owner.wait()
        owner.stdout.close()
        remove_run(engine, run_id)
    events = read_events((Path(folder) / "events.jsonl").read_text().splitlines())
    assert [e.stage for e in events if isinstance(e, FaultRecord)] == ["planned", "injecting", "bit"]
    (told,) = [e for e in events if isinstance(e, Mark) and e.name == "watchdog"]
    assert told.detail["removed"] == "6 containers, 1 network"
    assert isinstance(told.detail["seconds"], float)
