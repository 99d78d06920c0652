"""Longer matrices for the nightly job: the shipped scenarios over OTP releases and seeds, and a larger cluster.

The outcome may not depend on the release or on chance; what a cut destroys has to be found every time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Ground, Run

pytestmark = [pytest.mark.docker, pytest.mark.soak, pytest.mark.timeout(1200)]

LOSES = "partition-dirty.yml"


def ran(folder: Path, scenario: str, *arguments: str) -> Run:
    run = Run(folder, scenario, *arguments)
    run.process.wait(900)
    return run


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("otp", [25, 27])
@pytest.mark.parametrize("scenario", ["smoke.yml", "partition.yml", LOSES, "kill.yml"])
def test_the_verdict_depends_neither_on_release_nor_on_chance(
    tmp_path: Path, scenario: str, otp: int, seed: int
) -> None:
    run = ran(tmp_path, scenario, "--seed", str(seed), "--set", f"cluster.image.otp={otp}")
    assert run.process.returncode == (1 if scenario == LOSES else 0), run.stdout + run.stderr
    assert not Ground().left(run)


def test_ten_nodes_are_cut_and_whole_again(tmp_path: Path) -> None:
    run = ran(
        tmp_path, "smoke.yml", "--set", "cluster.nodes=10", "--set", "duration=30s", "--set", "timeline.0.at=10s",
        "--set", "cluster.ready_within=180s",
    )  # fmt: skip
    assert run.process.returncode == 0, run.stdout + run.stderr
    assert not Ground().left(run)
