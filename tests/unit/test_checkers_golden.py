"""Recorded runs keep their verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.checkers import check
from harness.history_files import load_history
from harness.store import RunDir

GOLDEN = Path(__file__).parent.parent / "golden" / "runs"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in GOLDEN.glob("*/expected.json")))
def test_a_recorded_run_keeps_its_verdict(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    verdict = check(load_history(RunDir.open(GOLDEN / name)))
    assert verdict.outcome == expected["outcome"]
    assert list(verdict.failed_checks) == expected["failed_checks"]
    assert {finding.title: finding.outcome for finding in verdict.findings} == expected["findings"]
