"""harness doctor where there is no engine: what it says, what it would do, what it does. No real engine is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor


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
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.delenv("NO_INSTALL", raising=False)
    monkeypatch.setattr(doctor, "ENGINE_START_TIMEOUT", 0.0)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 0)
    return tmp_path


def test_without_an_engine_it_says_what_that_costs(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine(None, fix=False) == 4
    told = capsys.readouterr().out
    assert "NO  engine" in told
    assert "nothing can run" in told
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
    assert "apt-get install -y docker.io" in capsys.readouterr().err
    assert not (machine / "called").exists()


def test_without_rights_the_commands_are_told_with_sudo(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    assert doctor.examine(None, fix=True) == 4
    assert "sudo sh -c 'systemctl start docker" in capsys.readouterr().err
    assert not (machine / "called").exists()
