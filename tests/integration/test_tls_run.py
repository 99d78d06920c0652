"""A run whose cluster speaks TLS, from end to end: both releases, a cut, a worker elsewhere, the relay, the console."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import EXPOSED, Begin, Command, Ground, Run, kill, stage, tiny, wait_until
from terminal import typed

from harness.dist import connect
from harness.dist.tls import Credentials
from harness.errors import HandshakeRefused

pytestmark = pytest.mark.docker

SCENARIO = tiny(
    cluster={
        **tiny()["cluster"],
        "nodes": {"n1": {}, "n2": {"image": {"otp": 25}}, "n3": {}},
        "cookie": "shared",
        "tls": True,
        "mnesia": {"tables": {"kv": {"ram_copies": "all", "majority": True}}},
    },
    timeline=[
        {
            "at": "1s",
            "sequence": [
                {"until": "detected", "partition": {"groups": [["n1"], ["n2", "n3"]]}},
                {"at": "2s", "recover": {"mnesia": "restart_minority"}},
            ],
        }
    ],
    duration="22s",
)


def test_a_run_over_tls(begin: Begin, ground: Ground, tmp_path: Path) -> None:
    run = begin(SCENARIO, "--expose", EXPOSED, "--remote-workers", "1", "--keep", "always")

    def typed_elsewhere() -> Any:
        assert run.process.poll() is None, run.stdout + run.stderr
        return re.search(r"harness worker --master (\S+) --tls FOLDER \(docker cp (\S+) FOLDER\)", run.stdout)

    master, source = wait_until(typed_elsewhere, "the line to type elsewhere").groups()
    folder = tmp_path / "certificates"
    subprocess.run(["docker", "cp", source, folder], check=True, capture_output=True)
    (tmp_path / "elsewhere").mkdir()
    worker = Command(tmp_path / "elsewhere", "worker", "--master", master, "--tls", folder, HARNESS_COOKIE="shared")
    try:
        run.wait_for(stage("bit"))
        _nobody_else_gets_in(ground, run.id, folder)
        assert run.end() == 0, run.stdout + run.stderr
        assert worker.end() == 0, worker.stderr
    finally:
        kill(worker.process.pid)
        worker.process.wait()
    summary = run.json("summary.json")
    assert summary["outcome"] == "PASS"
    assert {fault["kind"] for fault in summary["faults"]} == {"partition"}
    _no_key_is_kept(run.folder)
    _a_shell_joins(run)
    assert Command(run.out.parent, "clean", "--run", run.id).end() == 0
    assert not ground.left(run)


def _nobody_else_gets_in(ground: Ground, run_id: str, folder: Path) -> None:
    helper = ground.container(run_id, "helper", "n1")
    (network,) = helper.attrs["NetworkSettings"]["Networks"].values()
    given: dict[str, Any] = {"host": network["IPAddress"], "port": 9100, "cookie": "shared"}
    with pytest.raises(HandshakeRefused) as refused:
        connect("n1@n1", **given, local="plain@harness")
    assert refused.value.reason == "tls"
    link = connect("n1@n1", **given, local="tls@harness", tls=Credentials.read(folder).client_context())
    assert link.rpc("erlang", "node") == "n1@n1"
    link.close()


def _no_key_is_kept(folder: Path) -> None:
    holding = [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert not holding


def _a_shell_joins(run: Run) -> None:
    console = [sys.executable, "-m", "harness", "console", run.id]
    said = [("(n1@n1)1>", "{answer, 6 * 7, node()}.\n"), ("{answer,42,n1@n1}", "\x07"), ("-->", "q\n")]
    assert "{answer,42,n1@n1}" in typed(console, said, cwd=str(run.out.parent))
