"""Bad days of a run: each ends with one clear line, the right exit code, its artefacts, and nothing left running."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from commands import LONG_CUT, Begin, Command, Event, Ground, Run, kill, mark, phase, stage, tiny, wait_until
from disks import SmallDisk
from terminal import typed

from harness.segments import merge_operations

pytestmark = pytest.mark.docker


def artefacts(run: Run, code: int) -> dict[str, Any]:
    """What every run leaves, however it ended, and where it says so; returns summary.json."""
    summary: dict[str, Any] = run.json("summary.json")
    assert summary["exit_code"] == code
    assert run.json("env.json")["engine"]
    assert f'class="badge">{summary["outcome"]}<' in (run.folder / "report.html").read_text()
    said = run.stderr if summary.get("error") else run.stdout + run.stderr
    assert re.search(rf"artefacts +runs/{re.escape(run.folder.name)}$", said.rstrip(), re.MULTILINE)
    suite = ET.parse(run.folder / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert (int(suite.get("errors", "")) + int(suite.get("failures", "")) > 0) == (code != 0)
    assert run.events()
    return summary


# --- on the way up ------------------------------------------------------------------------------------------------


def test_no_such_image(begin: Begin, ground: Ground) -> None:
    image = "127.0.0.1:1/nosuch:1"  # a registry that refuses at once
    run = begin(tiny(cluster={"nodes": 2, "image": image}, load=CALLS_ONLY, timeline=None))
    assert run.end() == 4
    assert f"image {image}: it is not here and can't be pulled" in run.error()
    artefacts(run, 4)
    assert not ground.left(run)


CALLS_ONLY = {"users": 2, "operations": [{"rpc": {"module": "lists", "function": "seq", "args": [1, 3]}}]}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"NODE_COOKIE": "another"}, "n2: start: the node has another cookie than the harness"),
        ({"NODE_TABLES": "[{kv,"}, "n2: start: the node exited"),
    ],
    ids=["wrong cookie", "crash at start"],
)
def test_a_node_that_does_not_start(begin: Begin, ground: Ground, environment: dict[str, str], told: str) -> None:
    nodes = {"n1": {}, "n2": {"environment": environment}}
    run = begin(tiny(cluster={"nodes": nodes}, load=CALLS_ONLY, timeline=None))
    assert run.end() == 4
    error = run.error()
    assert told in error
    if "exited" in told:
        assert "its last lines: " in error
        assert "NODE_TABLES" in error.partition("its last lines: ")[2]
    artefacts(run, 4)
    assert not ground.left(run)


# --- a signal -----------------------------------------------------------------------------------------------------


def container_there(run: Run, ground: Ground) -> None:
    run.wait_for(phase("starting"))
    wait_until(lambda: 'harness_phase{harness_phase="starting"} 1.0' in run.scraped(), "the phase, served")
    wait_until(lambda: ground.containers(run.id), "a container")


ENDS_SLOWLY = {
    "load": {
        "users": 4,
        "operations": [{"rpc": {"module": "timer", "function": "sleep", "args": [8000], "timeout": "60s"}}],
    },
    "expect": {"rpc": [{"module": "timer", "function": "sleep", "args": [5000], "timeout": "60s", "returns": ":ok"}]},
}
"""Calls are in flight for seconds after the load, and after quiesce one is waited for: a signal comes in time."""


STAGES: dict[str, Event | None] = {
    "starting": None,
    "baseline": phase("baseline"),
    "ramping": phase("ramping"),
    "load": phase("load"),
    "cut": stage("bit"),
    "stopping": phase("stopping"),
    "quiesce": phase("quiesce"),
}


@pytest.mark.parametrize("at", STAGES)
def test_ctrl_c(begin: Begin, ground: Ground, at: str) -> None:
    run = begin(tiny(**(ENDS_SLOWLY if at in ("stopping", "quiesce") else LONG_CUT)))
    wanted = STAGES[at]
    if wanted is None:
        container_there(run, ground)
    else:
        run.wait_for(wanted)
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert run.error() == "harness: interrupted by Ctrl-C"
    assert artefacts(run, 130)["outcome"] == "ABORTED"
    junit, summary = (run.folder / "junit.xml").read_bytes(), run.json("summary.json")
    (run.folder / "summary.json").unlink()
    checked = Command(run.out.parent, "check", run.folder)
    assert checked.end() == 130, checked.stdout + checked.stderr
    assert "interrupted by Ctrl-C" in checked.stdout
    assert Command(run.out.parent, "report", run.folder).end() == 0
    assert (run.folder / "junit.xml").read_bytes() == junit
    assert {**run.json("summary.json"), "folder": summary["folder"]} == summary
    if at == "cut":  # one that was just being made is healed, too, and not always proven so in the time there is
        assert any(map(stage("healing"), run.events()))
    if at != "starting":
        assert all((run.folder / "logs" / f"{node}.log").stat().st_size for node in ("n1", "n2"))
    assert not ground.left(run)


def test_a_second_ctrl_c_and_more(begin: Begin, ground: Ground) -> None:
    """Pressed again and again, the way out is still walked to its end."""
    run = begin(tiny(**LONG_CUT))
    run.wait_for(stage("bit"))
    while run.process.poll() is None:
        run.signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(0.2)
    assert run.end() == 130
    assert run.error() == "harness: interrupted by Ctrl-C"
    artefacts(run, 130)
    assert any(map(stage("healing"), run.events()))
    assert not ground.left(run)


def test_sigterm(begin: Begin, ground: Ground) -> None:
    """Of several files the rest is not begun; ``--json`` prints one object all the same."""
    run = begin(tiny(**LONG_CUT), "smoke.yml", "--json")
    run.wait_for(phase("load"))
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143
    told = json.loads(run.stdout)
    assert (told["exit_code"], told["error"]) == (143, "interrupted by SIGTERM")
    assert artefacts(run, 143) == told
    assert not ground.left(run)
    assert len(list(run.out.glob("*-*"))) == 1


# --- killed outright ----------------------------------------------------------------------------------------------


def passes(ground: Ground, run: Run) -> bool:
    """Whether n2's kernel lets a connection from n1 through: a probe of the test's own."""
    source = ground.container(run.id, "helper", "n1")
    code, _ = source.exec_run(["timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/n2/9100"])
    return bool(code == 0)


def hangs(run: Run, since: int) -> bool:
    """Whether a write that began after this time has no end yet."""
    done = merge_operations(run.folder / "history")
    return bool((done.of_kind("write") & (done.start > since) & (done.end < 0)).any())


def test_sigkill_in_the_middle_of_a_cut(begin: Begin, ground: Ground) -> None:
    """The watchdog ends the children, then removes everything, and says so in the journal.

    It comes when a write hangs in the cut. The children are frozen first: awake they may follow their owner before the
    watchdog comes to them.
    """
    run = begin(tiny(**LONG_CUT))
    cut = run.wait_for(stage("bit")).time
    wait_until(lambda: hangs(run, cut), "a write that the cut holds")
    for pid, _ in run.children():
        os.kill(pid, signal.SIGSTOP)
    run.process.kill()
    run.process.wait()
    told = wait_until(lambda: next(filter(mark("watchdog"), run.events()), None), "the watchdog")
    wait_until(lambda: not run.children(), "the end of the children")
    assert not ground.left(run)
    assert {said.split()[0] for said in told.detail["killed"]} == {"locust-master", "locust-w1"}
    assert told.detail["removed"] == "4 containers, 1 network"
    checked = Command(run.out.parent, "check", run.folder)
    assert checked.end() == 5, checked.stdout + checked.stderr
    assert "and its end is not recorded (partition)" in checked.stdout
    assert re.search(r"longest write +at least [\d.]+ m?s \(partition, transaction\)", checked.stdout)


def test_nobody_is_left_to_clean_up(begin: Begin, ground: Ground) -> None:
    """Harness and watchdog are killed: the kernel heals, ``clean`` removes; a live run is not touched by any of it."""
    live = begin(tiny(**LONG_CUT), "--keep", "always")
    run = begin(tiny(**LONG_CUT))
    for each in (live, run):
        each.wait_for(stage("bit"))
    assert not passes(ground, run)
    assert live.metrics_port() != run.metrics_port()
    kill(run.watchdog())
    run.process.kill()
    run.process.wait()
    wait_until(lambda: passes(ground, run), "healed by the kernel")
    assert not passes(ground, live)
    wait_until(lambda: not run.children(), "the end of the children")

    assert Command(run.out.parent, "clean").end() == 0
    assert not ground.left(run)
    assert len(ground.containers(live.id)) == 4
    skipped = Command(run.out.parent, "clean", "--run", live.id)
    assert skipped.end() == 0
    assert f"{live.id}: skipped (4 containers, 1 network): its run is still alive" in skipped.stdout
    assert live.process.poll() is None

    live.signal(signal.SIGINT)
    assert live.end() == 130
    artefacts(live, 130)
    left = f"kept the cluster: `harness console {live.id}` joins it, `harness clean --run {live.id}` removes it"
    assert left in live.stdout
    assert len(ground.containers(live.id, "node")) == 2
    wait_until(lambda: passes(ground, live), "healed on the way out")
    console = [sys.executable, "-m", "harness", "console", live.id]
    shown = typed(console, [("(n1@n1)1>", "{answer, 6 * 7, node()}.\n"), ("{answer,42,n1@n1}", "\x07"), ("-->", "q\n")],
                  cwd=str(live.out.parent))  # fmt: skip
    assert "{answer,42,n1@n1}" in shown
    assert Command(live.out.parent, "clean", "--run", live.id).end() == 0
    assert not ground.left(live)


# --- load and nodes -----------------------------------------------------------------------------------------------


def test_a_killed_worker(begin: Begin, ground: Ground) -> None:
    """One of two is named and makes the run inconclusive; the only one ends it. Exit code of both: 4 before 5."""
    load = {**tiny()["load"], "workers": 2}
    run = begin(tiny(load=load, duration="8s"))
    run.wait_for(phase("load"))
    kill(next(pid for pid, role in run.children() if role == "locust-w1"))
    run.wait_for(phase("judging"))
    wait_until(lambda: 'harness_verdict{harness_verdict="INCONCLUSIVE"} 1.0' in run.scraped(), "the verdict, served")
    assert run.end() == 5
    assert "worker w1 was lost" in run.stdout
    artefacts(run, 5)
    assert not ground.left(run)


def test_the_only_worker_killed(begin: Begin, ground: Ground) -> None:
    run = begin(tiny(duration="900s"), "-q")
    run.wait_for(phase("load"))
    kill(next(pid for pid, role in run.children() if role == "locust-w1"))
    assert run.end() == 4
    assert run.error().startswith("harness: load: Locust process w1 ended: signal 9; see ")
    artefacts(run, 4)
    assert not ground.left(run)


def test_a_node_gone_for_good(begin: Begin, ground: Ground) -> None:
    """Its container is removed by somebody: the run goes on and is judged without it."""
    run = begin(tiny(duration="8s", timeline=None))
    run.wait_for(phase("load"))
    ground.container(run.id, "node", "n2").remove(force=True)
    assert run.end() == 1
    assert "n2: read logs: No such container" in run.stdout
    assert "mesh_complete: not so after quiesce, as seen by n1" in run.stdout
    assert "final_state: n2: does not answer" in run.stdout
    artefacts(run, 1)
    assert not ground.left(run)


def test_disk_full(small_disk: SmallDisk, begin: Begin, ground: Ground, tmp_path: Path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    disk = small_disk("2m")
    (out / "runs").symlink_to(disk)
    run = begin(tiny(duration="900s"), folder=out)
    run.wait_for(phase("load"))
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)
    assert run.end() == 4
    assert "no space left" in run.error().lower()  # said by whoever came first: the run itself or its worker
    artefacts(run, 4)
    assert not ground.left(run)


# --- the end ------------------------------------------------------------------------------------------------------


def test_several_files_and_what_is_read_from_them_later(begin: Begin, ground: Ground, tmp_path: Path) -> None:
    """A violation, then a missing image: exit 1 comes before 4; one JSON object; the files alone say the same."""
    missing = tmp_path / "missing.yml"
    missing.write_text(json.dumps(tiny(name="missing", cluster={"image": "127.0.0.1:1/nosuch:1"}, load=CALLS_ONLY,
                                       timeline=None)))  # fmt: skip
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        scenario = tiny(expect={"latency": "1us"})
        run = begin(scenario, missing, "--json", "--metrics", f"127.0.0.1:{port}", FORCE_COLOR="1", NO_COLOR="1")
        failed = run.folder
        assert run.end() == 1
    assert f"(port {port} was taken)" in run.stderr
    assert "FAIL" in run.stderr
    assert not re.search(r"\033\[(\d+;)*[349]\d[;m]", run.stderr), "a colour"
    (told,) = map(json.loads, run.stdout.splitlines())
    assert [one["exit_code"] for one in told["runs"]] == [1, 4]
    assert told["runs"][0] == json.loads((failed / "summary.json").read_text())
    assert told["runs"][0]["outcome"] == "FAIL"
    assert "can't be pulled" in told["runs"][1]["error"]
    assert not ground.left(run)

    def said(code: int, *arguments: str | Path) -> str:
        command = Command(run.out.parent, *arguments)
        assert command.end() == code, command.stderr
        return command.stdout

    again = json.loads(said(1, "check", failed, "--json"))
    assert again["outcome"] == "FAIL"
    assert again["findings"] == told["runs"][0]["findings"]
    assert "latency" in said(1, "check", run.id)
    (failed / "summary.json").unlink()
    assert said(0, "report", failed).strip() == str(failed / "report.html")
    assert json.loads((failed / "summary.json").read_text())["findings"] == again["findings"]
    operations = [json.loads(line) for line in said(0, "history", "export", failed).splitlines()]
    invoked = [one for one in operations if one.get("type") == "invoke"]
    assert len(invoked) == told["runs"][0]["operations"]["total"]
