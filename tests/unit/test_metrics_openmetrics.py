"""metrics.om: every family and every metric in one piece, points in order, readable whatever cut the spool short."""

from __future__ import annotations

import errno
import os
import re
from itertools import groupby
from pathlib import Path

import pytest
from plans import three_nodes

from harness.errors import DiskFull
from harness.history import FaultRecord
from harness.metrics import Figures, Sampler, write_openmetrics
from harness.metrics import spool as spool_module
from harness.metrics.spool import Spool

LINE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+) (?P<time>\S+)$")


@pytest.fixture
def figures() -> Figures:
    made = Figures(three_nodes(), "r1", "27")
    made.node_up("n1", True)
    made.node_up("n2", True)
    made.observe_lag("kv", "n1", "n2", "transaction", 20_000)
    made.set_pending('a "quoted" \\ name', "n1", 1)
    return made


def written(figures: Figures, folder: Path, samples: int = 3) -> str:
    spool = Spool(folder, figures.run_labels)
    for second in range(samples):
        if second == 1:
            figures.fault(FaultRecord(5, "s1", "partition", "bit", ("n2", "n1")))
            figures.node_up("n3", False)  # a metric that begins late
        spool.append(figures, 1_700_000_000.0 + second)
    spool.close()
    write_openmetrics(folder, folder.parent / "metrics.om")
    return (folder.parent / "metrics.om").read_text()


def test_families_and_metrics_are_contiguous_and_in_time(figures: Figures, tmp_path: Path) -> None:
    lines = written(figures, tmp_path / "spool").splitlines()
    assert lines[-1] == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    family, seen = "", set()
    metrics: list[tuple[str, str]] = []
    times: dict[tuple[str, str], list[float]] = {}
    for line in lines[:-1]:
        if line.startswith("#"):
            family = line.split()[2]
            continue
        match = LINE.match(line)
        assert match, line
        assert match["name"].startswith(family)
        labels = re.sub(r',?(le|harness_phase|harness_verdict)="[^"]*"', "", match["labels"] or "")
        metrics.append((family, labels))
        times.setdefault((match["name"], match["labels"]), []).append(float(match["time"]))
    for metric, _ in groupby(metrics):
        assert metric not in seen, f"{metric} is interleaved"
        seen.add(metric)
    assert all(points == sorted(set(points)) for points in times.values())
    assert len(times["harness_node_up", 'run_id="r1",scenario="unit",node="n1"']) == 3
    assert len(times["harness_node_up", 'run_id="r1",scenario="unit",node="n3"']) == 2


def test_names_carry_their_suffixes(figures: Figures, tmp_path: Path) -> None:
    text = written(figures, tmp_path / "spool", samples=2)
    run = 'run_id="r1",scenario="unit"'
    assert f'harness_faults_injected_total{{{run},kind="partition",result="bit"}} 1 1700000001.000' in text
    assert "# TYPE harness_faults_injected counter" in text
    assert 'harness_run_info{run_id="r1",scenario="unit",otp="27"' in text
    assert re.search(r'replication_lag_seconds_bucket\{.*,le="2.5e-05"\} 1 ', text)
    assert re.search(r'replication_lag_seconds_bucket\{.*,le="1.0"\} 1 ', text)
    assert re.search(r'replication_lag_seconds_bucket\{.*,le="\+Inf"\} 1 ', text)
    assert 'table="a \\"quoted\\" \\\\ name"' in text


def test_a_torn_row_is_left_out(figures: Figures, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    whole = written(figures, folder)
    with open(folder / "harness_node_up.rows", "ab") as rows:
        rows.write(b"\x00" * 7)
    write_openmetrics(folder, tmp_path / "again.om")
    assert (tmp_path / "again.om").read_text() == whole


def test_a_full_disk_is_told_at_the_end(figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(spool_module.os, "write", lambda fd, data: real(fd, data[:3]))
    sampler = Sampler(figures, tmp_path / "spool", interval=0.01)
    with pytest.raises(DiskFull) as told:
        sampler.finish(tmp_path / "metrics.om")
    assert isinstance(told.value.__cause__, OSError)
    assert told.value.__cause__.errno == errno.ENOSPC
