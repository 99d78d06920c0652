"""What makes a run inconclusive, and the figures of service per phase."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from histories import HistoryBuilder, healthy
from plans import NAMES, three_nodes

from harness.checkers import Facts, Finding, Verdict, check
from harness.checkers.service import phase_table


def judged(built: HistoryBuilder, folder: Path) -> Verdict:
    return check(built.build(folder))


def one(verdict: Verdict, name: str) -> Finding:
    (finding,) = verdict.of(name)
    return finding


def with_rate(**changes: Any) -> HistoryBuilder:
    load = three_nodes().load.model_copy(update={"rate": 40.0}).model_dump()
    return healthy(three_nodes(duration=60.0, load=load, **changes))


# --- fault_bit ---


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"injecting": 10.0, "not_bitten": 10.5, "healing": 30.0, "healed": 30.1}, "not seen to bite"),
        ({"injecting": 10.0, "bit": 10.1, "healing": 30.0, "not_healed": 31.0}, "not seen healed"),
        ({"injecting": 10.0, "bit": 10.1}, "not seen healed"),
        ({"injecting": 10.0, "failed": 10.1, "healing": 10.2, "healed": 10.3}, "failed"),
        ({"planned": 0.0, "skipped": 60.0}, "skipped"),
        ({"planned": 0.0}, "never took place"),
    ],
)
def test_a_fault_without_proof_is_unknown(tmp_path: Path, stages: dict[str, float], said: str) -> None:
    built = HistoryBuilder()
    built.steady(0, 60)
    built.fault("s1", "partition", ("n1",), **stages)
    verdict = judged(built, tmp_path)
    finding = one(verdict, "fault_bit")
    assert finding.outcome == "unknown"
    assert said in finding.summary
    assert verdict.outcome == "INCONCLUSIVE"


def test_a_missed_renewal_is_unknown(tmp_path: Path) -> None:
    built = healthy()
    built.mark("renewal_missed", 20.0, step="s1")
    assert judged(built, tmp_path).outcome == "INCONCLUSIVE"


def test_a_recovery_that_took_place_passes(tmp_path: Path) -> None:
    plan = three_nodes(
        duration=60.0,
        timeline=[{"id": "r", "name": "mend", "kind": "recover", "at": 5.0, "action": {}}],
    )
    built = HistoryBuilder(plan)
    built.steady(0, 60)
    built.fault("r", "recover", ("n1",), injecting=5.0, bit=6.0)
    assert one(judged(built, tmp_path), "fault_bit").outcome == "pass"


# --- enough_samples ---


def test_a_phase_without_operations_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 10)
    built.steady(40, 60)
    finding = one(judged(built, tmp_path), "enough_samples")
    assert finding.outcome == "unknown"
    assert {e["phase"] for e in finding.evidence if "phase" in e} >= {"detected"}


def test_users_that_all_block_in_a_phase_of_a_fault_are_samples_of_it(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 9.9)
    built.steady(0, 9.9, context="async_dirty")
    for _ in range(12):
        built.op(9.95, took=40.0)
    built.steady(50, 60)
    assert one(judged(built, tmp_path), "enough_samples").outcome == "pass"


def test_a_calm_phase_in_which_nothing_was_begun_is_unknown(tmp_path: Path) -> None:
    """Users that still wait for what a fault did to them tell nothing of the time after it."""
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 32, 50.0)
    built.steady(0, 32, context="async_dirty")
    for _ in range(12):
        built.op(32.5, took=30.0)
    finding = one(judged(built, tmp_path / "after"), "enough_samples")
    assert (finding.summary, finding.decisive) == ("nothing was begun: after", True)


def test_an_operation_that_never_succeeded_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 60)
    built.steady(0, 60, 1, context="async_dirty", outcome="fail", reason="no_exists")
    finding = one(judged(built, tmp_path), "enough_samples")
    assert finding.outcome == "unknown"
    assert {"operation": "write kv async_dirty", "problem": "never succeeded"} in finding.evidence
    assert finding.summary == "never succeeded: write kv async_dirty"


def test_a_run_without_an_ok_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 60, outcome="fail", reason="not_sent")
    verdict = judged(built, tmp_path)
    assert one(verdict, "enough_samples").outcome == "unknown"
    assert verdict.outcome == "INCONCLUSIVE"


# --- generator ---


def test_many_that_load_ended_before_are_told(tmp_path: Path) -> None:
    built = with_rate()
    built.load = {**built.load, "offered": 2400, "dropped": {"load_ended": 200}}
    assert one(judged(built, tmp_path / "few"), "generator").outcome == "pass"
    built.load = {**built.load, "dropped": {"load_ended": 1200}}
    finding = one(judged(built, tmp_path / "many"), "generator")
    assert finding.warns
    assert finding.summary == "1,200 of 2,400 operations offered were due and not begun when load ended"


def test_a_generator_that_kept_up_passes(tmp_path: Path) -> None:
    built = with_rate()
    built.load = {"offered": 2400, "late": 3, "dropped": {"all_users_busy": 300, "generator_late": 2}}
    assert one(judged(built, tmp_path), "generator").outcome == "pass"


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"offered": {"a": 2000, "b": 400}, "dropped": {"generator_late": 100}}, "generator was late"),
        ({"offered": 900, "dropped": {}}, "the rate asks for"),
        ({"offered": 90_000, "dropped": {}}, "are in the history"),
        ({}, "left no figures"),
    ],
)
def test_a_generator_that_did_not_keep_up_is_unknown(tmp_path: Path, load: dict[str, Any], said: str) -> None:
    built = with_rate()
    built.load = load
    verdict = judged(built, tmp_path)
    assert one(verdict, "generator").outcome == "unknown"
    assert said in one(verdict, "generator").summary
    assert verdict.outcome == "INCONCLUSIVE"


def test_a_lost_worker_is_unknown_and_named(tmp_path: Path) -> None:
    built = healthy()
    built.mark("worker_lost", 20.0, worker="w2")
    assert "w2" in one(judged(built, tmp_path), "generator").summary


@pytest.mark.parametrize("ramp", [0.0, 3.0])
def test_a_worker_that_left_before_load_began_is_none_of_those_that_drove_it(tmp_path: Path, ramp: float) -> None:
    """Another has taken its place, or it is back: load begins when all that are expected are there."""
    built = healthy(three_nodes(duration=60.0, load=three_nodes().load.model_dump() | {"ramp": ramp}))
    built.mark("worker_lost", -ramp - 2.0, worker="w2")
    built.mark("worker_silent", -ramp - 2.0, worker="w1")
    found = one(judged(built, tmp_path / "away"), "generator")
    assert (found.outcome, found.summary) == ("unknown", "worker w2 was lost; worker w1 fell silent")
    built.mark("worker_returned", -ramp - 1.0, worker="w1")
    built.mark("worker_joined", -ramp - 1.0, worker="w3")
    assert one(judged(built, tmp_path / "back"), "generator").outcome == "pass"
    built.mark("worker_silent", -ramp + 0.1, worker="w1")
    found = one(judged(built, tmp_path / "after"), "generator")
    assert (found.outcome, found.summary) == ("unknown", "worker w1 fell silent")


@pytest.mark.parametrize(
    ("mark", "detail", "said"),
    [
        ("worker_silent", {"worker": "w2"}, "worker w2 fell silent"),
        ("load_stopped", {"by": "web page"}, "load was stopped by web page"),
    ],
)
def test_a_load_that_did_not_run_to_its_end_is_unknown(
    tmp_path: Path, mark: str, detail: dict[str, str], said: str
) -> None:
    built = healthy()
    built.mark(mark, 40.0, **detail)
    verdict = judged(built, tmp_path)
    assert said in one(verdict, "generator").summary
    assert verdict.outcome == "INCONCLUSIVE"


# --- probes ---


@pytest.mark.parametrize(
    ("mark", "detail"),
    [("probe_failed", {"cause": "ValueError('what')"}), ("probe_dropped", {"what": "events", "count": 7})],
)
def test_a_node_that_was_not_watched_is_unknown(tmp_path: Path, mark: str, detail: dict[str, Any]) -> None:
    assert one(judged(healthy(), tmp_path / "a"), "probes").outcome == "pass"
    built = healthy()
    built.mark(mark, 20.0, node="n2", **detail)
    verdict = judged(built, tmp_path / "b")
    assert one(verdict, "probes").outcome == "unknown"
    assert one(verdict, "probes").evidence[0]["node"] == "n2"
    assert verdict.outcome == "INCONCLUSIVE"


def test_a_divergence_while_nobody_watched_may_have_been_reported(tmp_path: Path) -> None:
    built = healthy()
    built.events = [e for e in built.events if getattr(e, "event", "") != "inconsistent_database"]
    built.lose(1, "n1")
    assert one(judged(built, tmp_path / "a"), "unreported_divergence").outcome == "fail"
    built.mark("probe_failed", 29.0, node="n1", cause="x")
    assert one(judged(built, tmp_path / "b"), "unreported_divergence").outcome == "unknown"


@pytest.mark.parametrize(("expected", "outcome"), [((), "PASS"), (({"limit": 0.1},), "INCONCLUSIVE")])
def test_lag_samples_that_were_dropped_leave_only_lag_open(tmp_path: Path, expected: Any, outcome: str) -> None:
    expectations = [{"check": "lag", "limit": limit} for limit in expected]
    built = healthy(three_nodes(duration=60.0, expectations=expectations))
    built.lag = [(at, 0.0005, at, "kv", "n1", "n2", "transaction") for at in range(1, 50)]
    built.mark("probe_dropped", 20.0, node="n2", what="lag", count=7)
    verdict = judged(built, tmp_path)
    assert one(verdict, "lag").outcome == "unknown"
    assert one(verdict, "probes").outcome == "pass"
    assert verdict.outcome == outcome


# --- final_state, rpc ---


def test_problems_of_the_final_state_are_unknown(tmp_path: Path) -> None:
    built = healthy()
    built.problems = ("n2: read kv: connection lost",)
    verdict = judged(built, tmp_path)
    assert one(verdict, "final_state").summary == built.problems[0]
    assert verdict.outcome == "INCONCLUSIVE"


ANSWER = {"call": "shop:invariant()", "node": "n1", "returned": "ok", "expected": "ok", "ok": True}


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ((ANSWER,), "pass"),
        (({**ANSWER, "ok": False},), "fail"),
        (({**ANSWER, "ok": False, "outcome": "fail"},), "fail"),
        (({**ANSWER, "ok": False, "outcome": "unknown"},), "unknown"),
        ((), "unknown"),
    ],
)
def test_expected_answers(tmp_path: Path, answers: tuple[dict[str, Any], ...], outcome: str) -> None:
    call = {"call": {"module": "shop", "function": "invariant"}, "returns": ":ok", "on": "all"}
    built = healthy(three_nodes(duration=60.0, expected_answers=[call]))
    built.answers = answers
    assert one(judged(built, tmp_path), "rpc").outcome == outcome


# --- phases, latency, availability, lag ---


def test_phases_split_the_run_and_times_count_from_the_intended_start(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut(detected=15.0)
    built.op(5.0, took=0.5, late=0.25)
    built.op(12.0, took=3.0)
    built.op(20.0, outcome="fail", reason="no_majority")
    built.op(31.0, took=0.1)
    built.op(50.0, took=None)
    rows = {row.phase: row for row in phase_table(Facts(built.build(tmp_path)))}
    assert list(rows) == ["before", "undetected", "detected", "healing", "after"]
    assert [round(rows[p].lasted, 1) for p in rows] == [10.0, 4.9 + 0.1, 15.0, 3.0, 27.0]
    assert rows["before"].p50 == pytest.approx(0.75)
    assert rows["undetected"].longest == pytest.approx(3.0)
    assert (rows["detected"].availability, rows["after"].availability) == (0.0, 0.0)
    assert rows["after"].unknown == 1
    assert rows["after"].p50 is None


def test_an_operation_that_a_fault_caught_in_flight_belongs_to_the_fault(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut(detected=15.0)
    built.op(5.0, took=0.5)
    built.op(9.9, took=6.0)
    built.op(9.95, took=None)
    rows = {row.phase: row for row in phase_table(Facts(built.build(tmp_path)))}
    assert (rows["before"].count, rows["before"].longest) == (1, pytest.approx(0.5))
    assert (rows["undetected"].ok, rows["undetected"].unknown) == (1, 1)


@pytest.mark.parametrize(
    ("name", "limit", "outcome"),
    [
        ("latency", {"limit": 0.001}, "fail"),
        ("latency", {"limit": 0.1, "phase": "after"}, "pass"),
        ("latency", {"limit": 0.001, "phase": "undetected", "severity": "warn"}, "fail"),
        ("availability", {"min": 0.99, "phase": "after"}, "pass"),
        ("availability", {"min": 0.99, "phase": "detected"}, "fail"),
        ("lag", {"limit": 0.1}, "pass"),
        ("lag", {"limit": 0.00001}, "fail"),
    ],
)
def test_service_is_held_against_limits(tmp_path: Path, name: str, limit: dict[str, Any], outcome: str) -> None:
    built = healthy(three_nodes(duration=60.0, expectations=[{"check": name, "limit": limit}]))
    built.lag = [(at, 0.0005, at, "kv", a, b, "transaction") for at in range(1, 50) for a, b in permutations(NAMES, 2)]
    verdict = judged(built, tmp_path)
    finding = one(verdict, name)
    assert finding.outcome == outcome
    expected = "FAIL" if outcome == "fail" and limit.get("severity") != "warn" else "PASS"
    assert verdict.outcome == expected


def test_a_limit_on_a_phase_that_never_came_is_unknown(tmp_path: Path) -> None:
    plan = three_nodes(
        duration=60.0, timeline=[], expectations=[{"check": "latency", "limit": {"limit": 1.0, "phase": "after"}}]
    )
    built = HistoryBuilder(plan)
    built.steady(0, 60)
    built.steady(0, 60, 5, context="async_dirty")
    assert judged(built, tmp_path).outcome == "INCONCLUSIVE"
