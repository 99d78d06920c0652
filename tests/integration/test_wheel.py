"""The wheel on a machine that has no clone: installed into a fresh environment, run from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from commands import Ground

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

CLONE = Path(__file__).parents[2]
COMPILER = shutil.which(str(sysconfig.get_config_var("CC")).split()[0])  # the one that extensions are built with


def ran(folder: Path, *command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    ran(CLONE, sys.executable, "-m", "build", "--wheel", "--outdir", folder)
    (built,) = folder.glob("*.whl")
    return built


def test_it_carries_the_data_and_nothing_that_building_left(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for path in ("erlang/Dockerfile", "erlang/node/src/harness_probe.erl", "scenarios/smoke.yml", "scenarios/shop.py"):
        assert f"harness/_data/{path}" in names
    assert not [
        name for name in names if "_build/" in name or "__pycache__" in name or name.endswith((".beam", ".pyc"))
    ]


def test_it_carries_what_could_be_compiled(wheel: Path) -> None:
    compiled = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("harness/etf/_speed.cpython")]
    assert bool(compiled) == ("none-any" not in wheel.name) == bool(COMPILER)


def test_it_runs_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / "bin"
    ran(tmp_path, bin / "pip", "install", "--quiet", "--constraint", CLONE / "constraints.txt", wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    where = "from harness.data import data_path; print(data_path('erlang/node'))"
    assert Path(ran(empty, bin / "python", "-c", where).strip()).is_relative_to(tmp_path / "venv")
    assert ran(empty, bin / "python", "-c", "import harness.etf as etf; print(etf.COMPILED)") == f"{bool(COMPILER)}\n"
    assert "kill.yml: kill is valid" in ran(empty, bin / "harness", "validate", "kill.yml").replace("\n", " ")
    summary = json.loads(ran(empty, bin / "harness", "run", "smoke.yml", "--json"))
    assert (summary["outcome"], summary["exit_code"]) == ("PASS", 0)
    assert sorted(path.name for path in empty.iterdir()) == ["runs"]
    assert (empty / "runs" / "latest" / "report.html").is_file()
    assert not Ground().client.containers.list(all=True, filters={"label": f"harness.run={summary['run']}"})
