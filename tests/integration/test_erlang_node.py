"""The example node's own suites, on OTP 25 and 27: xref, dialyzer, EUnit, Common Test with several peers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.cluster.bootstrap import builder_base
from harness.cluster.engine import find_engine
from harness.cluster.image import ensure_node_image
from harness.data import data_path

pytestmark = pytest.mark.docker


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("otp", [25, 27])
def test_the_erlang_suites_pass(otp: int, tmp_path: Path) -> None:
    ensure_node_image(find_engine(), otp, "", print)
    builder = builder_base(otp)
    assert builder is not None
    command = [
        "docker", "run", "--rm", "--network", "none", "--label", "harness.role=experiment",
        "--volume", f"{data_path('erlang/node').resolve()}:/src:ro", builder.reference, "sh", "/src/test.sh",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (units,) = re.findall(r"(\d+) tests, 0 failures", done.stdout)
    (cases,) = re.findall(r"All (\d+) tests passed\.", done.stdout)
    assert int(units) > 0
    assert int(cases) > 0
