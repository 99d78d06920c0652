"""What is measured comes out under the contract's names, added up over workers."""

from __future__ import annotations

import json
import random
import re
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from plans import three_nodes
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.checkers import Finding
from harness.errors import DiskFull, EnvironmentProblem
from harness.histogram import LogLinear
from harness.history import FaultRecord, FinalState, Mark, ReplicaState
from harness.metrics import FAMILIES, Figures, Metrics, names, serve, service, write_target
from harness.store import RunDir

NS = 1_000_000_000


def histogram(*values_ns: int) -> dict[str, object]:
    made = LogLinear()
    for value in values_ns:
        made.record(value)
    return made.to_json()


def snapshot(worker: str, count: int, reason: str = "") -> dict[str, object]:
    op = {
        "op": "write kv",
        "target": "n1",
        "outcome": "unknown" if reason else "ok",
        "reason": reason,
        "count": count,
        "duration": histogram(*([2_000_000] * count)),
        "service": histogram(*([900_000] * count)),
    }
    return {
        "worker": worker, "time": 1, "ops": [op], "offered": {"write kv|n1": count}, "late": 1,
        "dropped": {"backlog": 2}, "in_flight": 3, "cpu_ratio": 0.5, "loop_lag_s": 0.001,
    }  # fmt: skip


def value(figures: Figures, family: names.Family, *labels: str) -> tuple[float, ...]:
    return next(p.values for p in figures.points() if p.family is family and p.labels == labels)


@pytest.fixture
def figures() -> Figures:
    return Figures(three_nodes(), "r1", "27")


def test_a_newer_snapshot_replaces_and_workers_add_up(figures: Figures) -> None:
    for sent in (snapshot("w1", 5), snapshot("w1", 10), snapshot("w2", 1), snapshot("w3", 2, "timeout")):
        figures.ingest(sent)
    assert value(figures, names.OPERATIONS, "write kv", "n1", "ok", "") == (11.0,)
    assert value(figures, names.OPERATIONS, "write kv", "n1", "unknown", "timeout") == (2.0,)
    assert value(figures, names.OFFERED, "write kv", "n1") == (13.0,)
    assert value(figures, names.IN_FLIGHT) == (9.0,)
    assert value(figures, names.WORKER_CPU, "w2") == (0.5,)
    *counts, total = value(figures, names.OPERATION_DURATION, "write kv", "n1", "ok")
    at = dict(zip((*names.DURATION_BUCKETS, float("inf")), counts, strict=True))
    assert (at[0.001], at[0.0025], at[float("inf")]) == (0, 11, 11)
    assert total == pytest.approx(0.022)
    summary = figures.load_summary()
    peak = {"cpu_ratio_max": 0.5, "loop_lag_s_max": 0.001}
    assert summary.pop("workers") == {"w1": peak, "w2": peak, "w3": peak}
    assert summary == {"offered": 13, "completed": 13, "late": 3, "dropped": {"backlog": 6}, "lag_samples": 0}


def test_folding_agrees_with_the_values_themselves(figures: Figures) -> None:
    dice = random.Random(3)
    values = [round(10 ** dice.uniform(4, 11)) for _ in range(3000)]
    sent = snapshot("w1", 0)
    sent["ops"][0]["duration"] = histogram(*values)  # type: ignore[index]
    figures.ingest(sent)
    *counts, total = value(figures, names.OPERATION_DURATION, "write kv", "n1", "ok")
    for bound, count in zip(names.DURATION_BUCKETS, counts, strict=False):
        near = sum(v <= bound * NS * 0.99 for v in values), sum(v <= bound * NS * 1.01 for v in values)
        assert near[0] <= count <= near[1]
    assert total == pytest.approx(sum(values) / NS)


def test_a_row_seen_before_its_ack_counts_as_no_lag(figures: Figures) -> None:
    labels = ("kv", "n1", "n2", "transaction")
    figures.observe_lag(*labels, -5_000)
    figures.observe_lag(*labels, 20_000)
    assert value(figures, names.EARLY, *labels) == (1.0,)
    counts = value(figures, names.LAG, *labels)
    assert counts[:3] == (1.0, 2.0, 2.0)
    assert figures.lag().count == 2


def test_a_fault_is_followed_through_its_stages(figures: Figures) -> None:
    series = ("s1", "partition", "n2")
    assert value(figures, names.FAULT_ACTIVE, *series) == (0.0,)
    for at, stage in enumerate(("planned", "injecting", "bit")):
        figures.fault(FaultRecord(at * NS, "s1", "partition", stage, ("n1", "n2", "n3")))
    assert value(figures, names.FAULT_ACTIVE, *series) == (1.0,)
    assert value(figures, names.FAULTS_INJECTED, "partition", "bit") == (1.0,)
    assert value(figures, names.INJECTION_DURATION, "partition")[-1] == 1.0
    figures.fault(FaultRecord(5 * NS, "s1", "partition", "healing", ("n1", "n2", "n3")))
    figures.fault(FaultRecord(7 * NS, "s1", "partition", "healed", ("n1", "n2", "n3")))
    assert value(figures, names.FAULT_ACTIVE, *series) == (0.0,)
    assert value(figures, names.RECOVERY_DURATION, "partition", "heal")[-1] == 2.0
    figures.fault(FaultRecord(8 * NS, "s2", "recover", "bit", ("n1",)))
    assert not any(p.labels[:1] == ("s2",) for p in figures.points() if p.family is names.FAULT_ACTIVE)


def test_figures_of_a_node_replace_its_previous_ones_only(figures: Figures) -> None:
    size = names.ERLANG_BY_NAME["erlang_mnesia_tablewise_size"]
    figures.erlang("n1", {size.name: {"kv": 3, "old": 1}})
    figures.erlang("n2", {size.name: {"kv": 4}})
    figures.erlang("n1", {size.name: {"kv": 5}})
    assert {p.labels: p.values for p in figures.points() if p.family is size} == {
        ("n1", "kv"): (5.0,),
        ("n2", "kv"): (4.0,),
    }
    with pytest.raises(KeyError):
        figures.erlang("n1", {"erlang_vm_unheard_of": 1})


def test_phase_and_verdict_are_state_sets(figures: Figures) -> None:
    figures.set_phase("load")
    figures.set_outcome("FAIL")
    assert dict(zip(names.PHASES, value(figures, names.PHASE), strict=True))["load"] == 1.0
    assert value(figures, names.VERDICT) == (0.0, 0.0, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="lunch"):
        figures.set_phase("lunch")


def scrape(port: int) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(answer.read().decode())


def test_the_exposition_is_openmetrics_and_moves_to_the_next_free_port(figures: Figures) -> None:
    figures.ingest(snapshot("w1", 4))
    figures.observe_lag("kv", "n1", "n2", "transaction", 20_000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serve(figures, "127.0.0.1", port) as exposition:
            assert exposition.port > port
            families = {f.name: f for f in text_string_to_metric_families(scrape(exposition.port))}
    assert families["harness_run"].samples[0].labels["scenario"] == "unit"
    assert {s.name for s in families["harness_operation_duration_seconds"].samples} == set(
        names.OPERATION_DURATION.series
    )
    assert families["harness_phase"].type == "stateset"
    with pytest.raises(EnvironmentProblem, match=r"192\.0\.2\.1"):
        serve(figures, "192.0.2.1", 9646)


def test_a_run_announces_itself_and_leaves_metrics_behind(tmp_path: Path) -> None:
    rundir = RunDir.create(tmp_path, three_nodes())
    metrics = Metrics(three_nodes(), rundir, otp="27")
    host, port = metrics.serve("127.0.0.1", 0)
    target = tmp_path / "targets" / f"{rundir.run_id}.json"
    assert json.loads(target.read_text())[0]["targets"] == [f"{host}:{port}"]
    metrics.on_event(Mark(1, "phase", {"phase": "load"}))
    assert "harness_phase" in scrape(port)
    metrics.finish()
    assert not target.exists()
    assert not (rundir.path / "metrics.spool").exists()
    text = (rundir.path / "metrics.om").read_text()
    assert re.search(r'^harness_phase{.*,harness_phase="ended"} 1 \d+\.\d{3}$', text, re.MULTILINE)
    assert text.endswith("# EOF\n")
    rundir.close()


def test_served_from_before_the_nodes_are_known_until_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rundir = RunDir.create(tmp_path, three_nodes())
    metrics = Metrics(three_nodes(), rundir)
    _, port = metrics.serve("127.0.0.1", 0)
    before = scrape(port)
    assert 'harness_phase{harness_phase="starting"} 1.0' in before
    assert "harness_run_info{" not in before
    metrics.set_otp("25,27")
    assert f'run_id="{rundir.run_id}",scenario="unit"' in scrape(port)
    assert 'otp="25,27"' in scrape(port)
    metrics.set_verdict("FAIL", [])
    seen: list[str] = []
    written = service.Sampler.finish

    def finish(sampler: service.Sampler, path: Path) -> None:
        seen.append(scrape(port))
        written(sampler, path)
        raise DiskFull("write metrics", "no space left")

    monkeypatch.setattr(service.Sampler, "finish", finish)
    with pytest.raises(DiskFull):
        metrics.finish()
    assert 'harness_verdict{harness_verdict="FAIL"} 1.0' in seen[0]
    with pytest.raises(OSError, match="refused"):
        scrape(port)
    rundir.close()


def test_targets_of_dead_runs_are_swept(tmp_path: Path) -> None:
    dead, live = (RunDir.create(tmp_path, three_nodes()) for _ in range(2))
    left = write_target(dead, "unit", "127.0.0.1", 1)
    dead.close()
    write_target(live, "unit", "0.0.0.0", 2)
    assert not left.exists()
    assert [p.stem for p in (tmp_path / "targets").glob("*.json")] == [live.run_id]
    live.close()


def test_no_name_is_given_twice() -> None:
    series = [s for family in FAMILIES for s in family.series]
    assert len(series) == len(set(series))


def test_the_verdict_is_exported(tmp_path: Path) -> None:
    rundir = RunDir.create(tmp_path, three_nodes())
    metrics = Metrics(three_nodes(), rundir, otp="27")
    findings = [
        Finding("acked_lost", "fail", "gone", value=3.0, subject="kv, transaction"),
        Finding("acked_lost", "fail", "gone", value=2.0, subject="kv, async_dirty"),
        Finding("mesh_complete", "pass", "whole"),
        Finding("recovery", "unknown", "nothing was seen"),
    ]
    metrics.set_verdict("FAIL", findings)

    def copy(node: str, *ids: int, serves: bool = True, **rows: tuple[int, ...]) -> ReplicaState:
        updates = {int(key[1:]): row for key, row in rows.items()}
        return ReplicaState(node, "kv", len(ids), "", serves, np.array(ids, dtype=np.uint64), updates)

    metrics.set_final(
        FinalState(1, (copy("n1", 1, 2, 5, 6, k1=(5, 6)), copy("n2", 1, 5, 6, 7, k1=(6, 5)), copy("n3", serves=False)))
    )
    assert value(metrics, names.LOST_WRITES, "kv") == (5.0,)
    assert value(metrics, names.DIVERGENT, "kv") == (3.0,)  # 2, 7, and the row with 5 and 6 in another order
    assert {p.labels: p.values for p in metrics.points() if p.family is names.EXPECTATION} == {
        ("acked_lost [kv, transaction]",): (0.0,),
        ("acked_lost [kv, async_dirty]",): (0.0,),
        ("mesh_complete",): (1.0,),
    }
    metrics.finish()
    rundir.close()
