"""A compiled module of other sources than those beside it is not used, and somebody is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.dist import core
from harness.etf import COMPILED

pytestmark = pytest.mark.skipif(not (COMPILED and core.COMPILED), reason="not built here")
PROGRAM = """
import harness.etf
from harness.dist import core, Node
print(harness.__file__, harness.etf.COMPILED, core.COMPILED)
with Node("a@here", "c") as a, Node("b@here", "c") as b:
    a.connect("b@here", host="127.0.0.1", port=b.listen(register=False))
    a.ping("b@here", 60.0)
"""


@pytest.mark.parametrize("changed", [(), ("etf",), ("dist",), ("etf", "dist")])
def test_sources_that_are_newer(changed: tuple[str, ...], tmp_path: Path) -> None:
    copy = tmp_path / "harness"
    shutil.copytree(Path(harness.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in changed:
        with (copy / name / "_speed.pyx").open("a") as source:
            source.write("# newer\n")
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(copy / "__init__.py"), str("etf" not in changed), str("dist" not in changed)]
    assert told.returncode == 0
    assert told.stderr.count("pip install --editable .") == bool(changed)


def test_a_wheel_has_no_sources(tmp_path: Path) -> None:
    copy = tmp_path / "harness"
    shutil.copytree(Path(harness.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyx", "*.pxi"))
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert told.stdout.split()[1:] == ["True", "True"]
    assert not told.stderr
