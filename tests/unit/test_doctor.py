"""harness doctor where there is no engine: what it says, what it would do, what it does. No real engine is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import doctor
from harness.cluster import engine
from harness.cluster.engine import Endpoint
from harness.cluster.kernel import Kernel


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian machine without engine whose commands only note that they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("apt-get", "systemctl", "service", "dockerd"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/called\n')
        program.chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    here = [Endpoint(f"unix://{tmp_path}/no.sock", "default socket")]
    named = engine.endpoints
    monkeypatch.setattr(engine, "endpoints", lambda environ: named(environ) if "DOCKER_HOST" in environ else here)
    monkeypatch.delenv("NO_INSTALL", raising=False)
    monkeypatch.setattr(doctor, "ENGINE_START_TIMEOUT", 0.0)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 0)
    return tmp_path


def test_without_an_engine_it_says_what_that_costs(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine(None, fix=False) == 4
    told = capsys.readouterr()
    assert "NO  engine" in told.out
    assert "nothing can run" in told.out
    assert "systemctl start docker" in told.err
    assert not (machine / "called").exists()


def test_fix_shows_each_command_and_runs_it(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "bin" / "dockerd").unlink()
    assert doctor.examine(None, fix=True) == 4
    shown = capsys.readouterr().err
    called = (machine / "called").read_text().splitlines()
    assert called == ["apt-get update -qq", "apt-get install -y docker.io", "systemctl start docker"]
    assert [line.strip()[2:] for line in shown.splitlines() if line.strip().startswith("+")][:2] == called[:2]


def test_an_installed_engine_is_only_started(machine: Path) -> None:
    doctor.examine(None, fix=True)
    assert (machine / "called").read_text().splitlines() == ["systemctl start docker"]


def test_no_install_tells_the_commands_instead(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_INSTALL", "1")
    (machine / "bin" / "dockerd").unlink()
    assert doctor.examine(None, fix=True) == 4
    assert capsys.readouterr().err.count("apt-get install -y docker.io") == 1
    assert not (machine / "called").exists()


def test_without_rights_the_commands_are_told_with_sudo(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    assert doctor.examine(None, fix=True) == 4
    assert "sudo sh -c 'systemctl start docker" in capsys.readouterr().err
    assert not (machine / "called").exists()


def test_who_may_not_ask_the_engine_is_told_how_to(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise engine.unreachable([(Endpoint("unix:///var/run/docker.sock", "default socket"), "Permission denied")])

    monkeypatch.setattr(doctor, "find_engine", refused)
    assert doctor.examine(None, fix=True) == 4
    assert "join the docker group: sudo usermod -aG docker $USER" in capsys.readouterr().out
    assert not (machine / "called").exists()


def test_an_engine_named_elsewhere_is_not_installed_here(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{machine}/elsewhere.sock")
    assert doctor.examine(None, fix=True) == 4
    assert "unset what names it (DOCKER_HOST)" in capsys.readouterr().out
    assert not (machine / "called").exists()


def test_what_the_kernel_lacks_has_a_cost(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(_engine: object, progress: Callable[[str], None]) -> Kernel:
        progress("building the helper image")
        return Kernel(True, True, True, netem=False, nfqueue=True, told="without netem")

    monkeypatch.setattr(doctor, "find_engine", lambda: Unasked())
    monkeypatch.setattr(doctor, "base_sources", lambda engine: [])
    monkeypatch.setattr(doctor, "probe_kernel", found)
    assert doctor.examine(None, fix=False) == 0
    told = capsys.readouterr()
    assert "!!  kernel       without netem -> no delay faults;" in told.out
    assert "building the helper image" in told.err


class Unasked:
    def describe(self) -> str:
        return "an engine"
