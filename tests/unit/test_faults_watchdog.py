"""The watchdog as a real process, on a machine whose engine does not answer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plans import three_nodes

from harness.faults.watchdog import owner_ended_well, start_watchdog
from harness.history import Mark, read_events
from harness.store import RunDir

WAIT = 120.0

# The owner: starts a watchdog, says that it runs, and waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from plans import three_nodes
from harness.faults.watchdog import start_watchdog
from harness.store import RunDir
rundir = RunDir.create(Path(sys.argv[1]), three_nodes())
rundir.record_child(int(sys.argv[3]), "worker")
print(rundir.path, start_watchdog(rundir).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def rundir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDir]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    made = RunDir.create(tmp_path / "runs", three_nodes())
    yield made
    made.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def marks(path: Path) -> list[Mark]:
    return [e for e in read_events((path / "events.jsonl").read_text().splitlines()) if isinstance(e, Mark)]


def test_done_lets_it_go_without_a_trace(rundir: RunDir, child: subprocess.Popen[bytes]) -> None:
    rundir.record_child(child.pid, "worker")
    watchdog = start_watchdog(rundir)
    watchdog.done(WAIT)
    watchdog.done(WAIT)
    assert not Path(f"/proc/{watchdog.pid}").exists()
    assert child.poll() is None
    assert marks(rundir.path) == []


def test_done_after_somebody_killed_the_watchdog(rundir: RunDir) -> None:
    watchdog = start_watchdog(rundir)
    os.kill(watchdog.pid, signal.SIGKILL)
    watchdog.done(WAIT)


def test_signals_of_a_terminal_do_not_end_it(rundir: RunDir, child: subprocess.Popen[bytes]) -> None:
    rundir.record_child(child.pid, "worker")
    watchdog = start_watchdog(rundir)
    assert os.getsid(watchdog.pid) == watchdog.pid
    process = watchdog._process
    assert process.stdin is not None
    until_ignored(watchdog.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(watchdog.pid, number)
    process.stdin.close()
    assert process.wait(WAIT) == 4, "it went on to its work, and said that no engine answered"
    assert child.wait(WAIT) == -signal.SIGKILL


def until_ignored(pid: int) -> None:
    """Until the process ignores SIGTERM, as its status says."""
    while True:
        ignored = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn")
        )
        if int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return


def test_owner_killed(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(Path(__file__).parents[1]), str(child.pid)],
        stdout=subprocess.PIPE,
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock"},
    )
    assert owner.stdout is not None
    folder, pid = owner.stdout.readline().decode().split()
    with (Path(folder) / "events.jsonl").open("a") as journal:
        journal.write('{"type":"mark","ti')  # the owner died while it wrote
    watched = os.pidfd_open(int(pid))
    owner.kill()
    owner.wait()
    assert child.wait(WAIT) == -signal.SIGKILL
    (told,) = wait_for_marks(Path(folder), watched)
    assert told.name == "watchdog"
    assert told.detail["killed"] == [f"worker {child.pid}"]
    assert "no container engine answers" in told.detail["error"]


def wait_for_marks(folder: Path, pidfd: int) -> list[Mark]:
    """What the journal holds once the process has ended."""
    assert select.select([pidfd], [], [], WAIT)[0], "the watchdog ends"
    os.close(pidfd)
    return marks(folder)


def test_a_reused_pid_is_not_killed(rundir: RunDir, child: subprocess.Popen[bytes]) -> None:
    hostile = [
        {"pid": child.pid, "start": "1", "role": "worker"}, {"pid": 0, "start": "", "role": "x"},
        {"pid": -1, "start": "", "role": "x"}, {"pid": "self", "start": "", "role": "x"}, {"pid": None}, [], 7, "x",
    ]  # fmt: skip
    rundir.children.write_text("".join(json.dumps(line) + "\n" for line in hostile) + '{"pid": 4')
    assert list(rundir.recorded_children()) == []


@pytest.mark.parametrize(
    ("said", "well"),
    [
        (b"done\n", True), (b"done\r\n", True), (b"noise\ndone\nmore", True), (b"", False), (b"done", False),
        (b"don", False), (b"undone\n", False), (b"\x00\xff\n" * 50, False), (b"x" * 100_000 + b"\ndone\n", True),
        (b"x" * 100_000, False),
    ],
)  # fmt: skip
def test_what_the_owner_says(said: bytes, well: bool, tmp_path: Path) -> None:
    (tmp_path / "pipe").write_bytes(said)
    with (tmp_path / "pipe").open("rb") as pipe:
        assert owner_ended_well(pipe) is well
