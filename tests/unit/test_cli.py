"""The command as a user types it, as far as it needs no engine: messages, exit codes, streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import run, suite
from harness.cli import cli
from harness.errors import EnvironmentProblem
from harness.scenario.schema import Scenario
from harness.signals import Interruption

VALID = """\
name: tiny
cluster: {nodes: 2}
load:
  users: 2
  operations:
    - {rpc: {module: node_echo, function: echo, args: [1]}}
duration: 3s
"""


def harness(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "valid.yml").write_text(VALID)
    (tmp_path / "broken.yml").write_text("name: [broken\ncluster: {nodes: 2}\n")
    (tmp_path / "misspelt.yml").write_text(VALID.replace("duration", "duraton"))
    return tmp_path


def test_every_mistake_of_every_file_and_nothing_started(folder: Path) -> None:
    ran = harness(folder, "run", "valid.yml", "misspelt.yml", "broken.yml")
    assert ran.returncode == 2
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert "misspelt.yml:7:1: unknown key 'duraton'; did you mean duration?" in lines
    assert any(line.startswith("broken.yml:2:8: not YAML: ") for line in lines)
    assert all(line.startswith(("misspelt.yml:", "broken.yml:")) for line in lines)
    assert not (folder / "runs").exists()


def test_validate_and_plan_need_no_engine(folder: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{folder}/no.sock"}
    assert harness(folder, "validate", "valid.yml", **nowhere).stdout == "valid.yml: tiny is valid\n"
    planned = harness(folder, "plan", "valid.yml", "--json", "--seed", "7", "--set", "load.users=6", **nowhere)
    assert planned.returncode == 0
    told = json.loads(planned.stdout)
    assert (told["seed"], told["load"]["users"]) == (7, 6)


def test_no_engine(folder: Path) -> None:
    socket = folder / "no.sock"
    ran = harness(folder, "run", "valid.yml", DOCKER_HOST=f"unix://{socket}")
    assert ran.returncode == 4
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"harness: find engine: no container engine answers: unix://{socket} (DOCKER_HOST): ")
    assert line.endswith("; start the engine there, or unset what names it (DOCKER_HOST)")
    assert not (folder / "runs").exists()
    assert harness(folder, "clean", DOCKER_HOST=f"unix://{socket}").returncode == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nosuch.yml"), "nosuch.yml"),
        (("run", "valid.yml", "--metrics", "nowhere"), "'nowhere' is no HOST:PORT"),
        (("run", "valid.yml", "--set", "load.usrs=5"), "did you mean users?"),
        (("run", "valid.yml", "--remote-workers", "1"), "--remote-workers needs --expose ADDRESS"),
        (("check", "nowhere"), "nowhere is no run folder"),
        (("report",), "runs/latest is no run folder"),
        (("rum",), "No such command 'rum'"),
    ],
)
def test_usage(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    ran = harness(folder, *arguments)
    assert ran.returncode == 2, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_run_folder_that_cannot_be_written(folder: Path) -> None:
    """Found before anything is started; which error depends on the engine being there."""
    (folder / "runs").write_text("a file")
    ran = harness(folder, "run", "valid.yml")
    assert ran.returncode == 4
    assert len(ran.stderr.splitlines()) == 1


def test_who_closes_the_pipe_has_seen_enough(folder: Path) -> None:
    command = [sys.executable, "-m", "harness", "schema"]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_help_names_what_works() -> None:
    told = harness(Path.cwd(), "--help").stdout
    for verb in ("run", "validate", "plan", "schema", "check", "report", "history", "doctor", "clean", "console"):
        assert f"\n  {verb} " in told
    assert "130, 143 interrupted" in told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_on_the_way_out_of_one_file_keeps_the_next_from_beginning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, fails: bool
) -> None:
    begun: list[str] = []

    def on_its_way_out(
        scenario: Scenario, _path: Path, _options: run.RunOptions, interruption: Interruption
    ) -> run.Result:
        begun.append(scenario.name)
        with interruption:
            interruption.hold()
            os.kill(os.getpid(), number)
        if fails:
            raise EnvironmentProblem("remove run", "the engine is gone")
        return run.Result(1, {"scenario": scenario.name, "exit_code": 1}, folder)

    monkeypatch.setattr(suite, "run", on_its_way_out)
    (folder / "next.yml").write_text(VALID.replace("tiny", "next"))
    valid, following = str(folder / "valid.yml"), str(folder / "next.yml")
    ran = CliRunner().invoke(cli, ["run", valid, following, "--json"], standalone_mode=False)
    assert ran.return_value == code
    assert begun == ["tiny"]
    assert f"harness: interrupted by {'Ctrl-C' if code == 130 else 'SIGTERM'}" in ran.output
    told = json.loads(ran.output.splitlines()[-1])["runs"]
    assert [one["exit_code"] for one in told] == [4 if fails else 1, code]
    alone = CliRunner().invoke(cli, ["run", valid], standalone_mode=False)
    assert alone.return_value == (4 if fails else 1), "nothing was left to be kept from"
