"""Figures of a worker."""

from __future__ import annotations

import json

from harness.histogram import LogLinear
from harness.history import FAIL, OK
from harness.load.snapshot import Meter, Stats


def test_snapshot_survives_json_and_stays_small() -> None:
    stats = Stats()
    for i in range(100_000):
        stats.complete("echo", "n1", OK, "", 200_000 + i * 37, 150_000 + i * 31)
    stats.complete("write", "n2", FAIL, "no_majority", 5, 4)
    stats.offered["echo", "n1"] += 3
    stats.dropped["all_users_busy"] += 2
    text = json.dumps(stats.snapshot("w1", 42, Meter().to_json()))
    assert len(text) < 15_000
    told = json.loads(text)
    echo, write = told["ops"]
    assert LogLinear.from_json(echo["duration"]).count == echo["count"] == 100_000
    assert (write["outcome"], write["reason"], write["target"]) == ("fail", "no_majority", "n2")
    assert told["offered"] == {"echo|n1": 3}
    assert told["dropped"] == {"all_users_busy": 2}
    assert {"worker", "time", "late", "in_flight", "cpu_ratio", "busy_ratio", "loop_lag_s"} <= set(told)


def test_a_late_loop_counts_as_saturated() -> None:
    meter = Meter()
    assert not meter.saturated
    meter.lagged(3600.0)
    meter.measure()
    assert meter.saturated
    assert meter.to_json()["loop_lag_s"] == 3600.0
    meter.measure()
    assert meter.to_json()["loop_lag_s"] == 0.0
