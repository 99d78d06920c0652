"""docs/metrics.md tells of every metric what harness.metrics.names says, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

from harness.metrics.names import DURATION_BUCKETS, FAMILIES, PHASES, VERDICTS

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_table_is_complete_and_true() -> None:
    rows = [
        tuple(cell.strip(" `") for cell in line.split("|")[1:-1])
        for line in DOC.read_text().splitlines()
        if line.startswith("| `")
    ]
    expected = [
        (f.series[0] if f.kind in ("counter", "info") else f.name, f.kind, ", ".join(f.labels) or "none", f.help)
        for f in FAMILIES
    ]
    assert rows == expected


def test_buckets_and_states_are_told() -> None:
    text = re.sub(r"\s+", " ", DOC.read_text())
    assert ", ".join(f"{bound:g}" for bound in DURATION_BUCKETS) in text
    assert ", ".join(PHASES) in text
    assert ", ".join(VERDICTS) in text
