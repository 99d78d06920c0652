"""A real Prometheus reads what a run leaves behind and what it serves while it lasts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import EXPOSED
from plans import three_nodes

from harness.data import data_path
from harness.histogram import LogLinear
from harness.metrics import Figures, write_openmetrics
from harness.metrics.spool import Spool

pytestmark = pytest.mark.docker  # beside the other tests that need more than Python


@pytest.fixture(scope="module", autouse=True)
def prometheus_installed() -> None:
    """The distribution's own package; installed where it is absent and this user may."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return
    if os.environ.get("NO_INSTALL") or os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    command = ["apt-get", "install", "-y", "--no-install-recommends", "prometheus"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, capture_output=True, timeout=600, env=environment)


@contextmanager
def prometheus(folder: Path, config: str, *options: str) -> Iterator[str]:
    """A server over ``folder/data`` that answers; gives its address."""
    address = f"{EXPOSED}:9090"
    (folder / "prometheus.yml").write_text(config)
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}",
                f"--storage.tsdb.path={folder / 'data'}", *options,
            ],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        until(lambda: ready(address) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(120)


def until(condition: Any, timeout: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing in time"
        time.sleep(0.05)
    return found


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def query(address: str, promql: str, at: float | None = None) -> list[dict[str, Any]]:
    parameters = {"query": promql} | ({} if at is None else {"time": str(at)})
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        body = json.load(answer)
    assert body["status"] == "success", body
    return list(body["data"]["result"])


def dashboard_queries() -> list[str]:
    """The shipped dashboard's queries as Grafana would send them."""
    text = (data_path("dashboards") / "grafana" / "harness.json").read_text()
    found = re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', text)
    return [json.loads(e).replace("$__rate_interval", "4s").replace("$run", ".*") for e in found]


def drive(figures: Figures, second: int) -> None:
    """What one more second of load looks like: ten writes of 2 ms, one row seen 20 us after its ack."""
    durations = LogLinear()
    for _ in range(10 * (second + 1)):
        durations.record(2_000_000)
    figures.ingest(
        {
            "worker": "w1", "offered": {"write kv|n1": 10 * (second + 1)},
            "ops": [
                {"op": "write kv", "target": "n1", "outcome": "ok", "reason": "", "count": 10 * (second + 1),
                 "duration": durations.to_json(), "service": durations.to_json()}
            ],
        }
    )  # fmt: skip
    figures.observe_lag("kv", "n1", "n2", "transaction", 20_000)


def test_promtool_loads_what_a_run_leaves(tmp_path: Path) -> None:
    figures = Figures(three_nodes(), "r1", "27")
    figures.set_phase("load")
    spool = Spool(tmp_path / "spool", figures.run_labels)
    end = int(time.time()) - 60
    for second in range(120):
        drive(figures, second)
        spool.append(figures, end - 119 + second)
    spool.close()
    write_openmetrics(tmp_path / "spool", tmp_path / "metrics.om")
    load_blocks(tmp_path / "metrics.om", tmp_path / "data")
    with prometheus(tmp_path, "global: {}\n", "--storage.tsdb.retention.time=10y") as address:
        (rate,) = query(address, 'sum(rate(harness_operations_total{op="write kv"}[1m]))', at=end)
        assert float(rate["value"][1]) == pytest.approx(10.0, rel=0.01)
        (p50,) = query(
            address,
            "histogram_quantile(0.5, sum by (le) (rate(harness_operation_duration_seconds_bucket[1m])))",
            at=end,
        )
        assert 0.001 < float(p50["value"][1]) <= 0.0025
        (lag,) = query(address, 'harness_replication_lag_seconds_bucket{le="2.5e-05",replica="n2"}', at=end)
        assert float(lag["value"][1]) == 120
        (info,) = query(address, "harness_run_info", at=end)
        assert info["metric"]["scenario"] == "unit"
        (phase,) = query(address, "harness_phase == 1", at=end)
        assert phase["metric"]["harness_phase"] == "load"


def test_prometheus_finds_and_scrapes_a_run(tmp_path: Path) -> None:
    """With the shipped configuration, of which only the place of the target files is this test's own."""
    runs = tmp_path / "runs"
    shipped = (data_path("dashboards") / "prometheus.yml").read_text()
    config = shipped.replace("/runs/targets", str(runs / "targets"))
    assert config != shipped
    scenario = data_path("scenarios") / "smoke.yml"
    command = [sys.executable, "-m", "harness", "run", str(scenario), "--out", str(runs), "--json"]
    # Prometheus looks at what it has discovered every five seconds only, and a run keeps its figures once a second.
    command += ["--set", "duration=30s", "--set", "timeline.0.for=2s"]
    with prometheus(tmp_path, config) as address:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            done = 'sum by (run_id) (harness_operations_total{job="harness", outcome="ok"}) > 0'
            until(lambda: query(address, done) or run.poll() is not None, 300.0)
            for promql in dashboard_queries():
                query(address, promql)
            _, told = run.communicate(timeout=300)
        finally:
            run.terminate()  # nothing where it has ended; else it heals and removes first
            run.wait(120)
        assert run.returncode == 0, told
        assert not list((runs / "targets").glob("*.json")), "the target goes with the run"
        (found,) = query(address, f"last_over_time(({done})[15m:1s])")
        (info,) = query(address, "last_over_time(harness_run_info[15m])")
        assert info["metric"]["scenario"] == "smoke"
        assert "exported_run_id" not in info["metric"]
        (rundir,) = runs.glob("*-smoke-*")
        assert rundir.name.endswith(found["metric"]["run_id"])
        (verdict,) = query(address, 'max_over_time(harness_phase{harness_phase="load"}[15m])')
        assert float(verdict["value"][1]) == 1
    load_blocks(rundir / "metrics.om", tmp_path / "loaded" / "data")
    with prometheus(tmp_path / "loaded", "global: {}\n", "--storage.tsdb.retention.time=10y") as address:
        (passed,) = query(address, 'max_over_time(harness_verdict{harness_verdict="PASS"}[15m])')
        assert float(passed["value"][1]) == 1
        assert query(address, 'increase(harness_operations_total{outcome="ok"}[15m])')
        assert query(address, "max_over_time(harness_fault_active[15m]) == 1")
        assert query(address, 'max_over_time(erlang_vm_process_count{node="n1"}[15m])')


def load_blocks(metrics: Path, data: Path) -> None:
    data.mkdir(parents=True)
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(metrics), str(data)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
