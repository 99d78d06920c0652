"""One verdict over all findings, and what a healthy run looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from histories import HistoryBuilder, healthy
from plans import three_nodes

from harness.checkers import CHECKS, PHASES, Finding, Verdict, check
from harness.scenario import expectations


def test_a_healthy_run_passes(tmp_path: Path) -> None:
    verdict = check(healthy().build(tmp_path))
    decisive = [f for f in verdict.findings if f.decisive]
    assert verdict.outcome == "PASS", decisive
    assert verdict.exit_code == 0
    assert {f.check for f in verdict.findings} == set(CHECKS)


@pytest.mark.parametrize(
    ("outcomes", "verdict", "code"),
    [
        ([], "PASS", 0),
        ([("pass", "fail"), ("not_applicable", "fail"), ("off", "fail")], "PASS", 0),
        ([("fail", "warn"), ("unknown", "warn")], "PASS", 0),
        ([("pass", "fail"), ("unknown", "fail")], "INCONCLUSIVE", 5),
        ([("unknown", "fail"), ("fail", "fail")], "FAIL", 1),
        ([("fail", "warn"), ("unknown", "fail")], "INCONCLUSIVE", 5),
    ],
)
def test_fail_beats_inconclusive_beats_pass(outcomes: list[tuple[str, str]], verdict: str, code: int) -> None:
    findings = [Finding("x", outcome, "", severity=severity) for outcome, severity in outcomes]  # type: ignore[arg-type]
    judged = Verdict.over(findings)
    assert (judged.outcome, judged.exit_code) == (verdict, code)


def test_a_silenced_check_is_told_as_off(tmp_path: Path) -> None:
    plan = three_nodes(duration=60.0, expectations=[{"check": "acked_lost", "limit": {"off": True}}])
    built = healthy(plan)
    built.lose(1)
    verdict = check(built.build(tmp_path))
    assert [f.outcome for f in verdict.of("acked_lost")] == ["off"]
    assert "acked_lost" not in verdict.failed_checks


@pytest.mark.parametrize(
    "name", ["replica_divergence", "unreported_divergence", "fault_bit", "generator", "final_state", "probes"]
)
def test_a_severity_holds_for_every_check(tmp_path: Path, name: str) -> None:
    expected = [{"check": name, "limit": {"severity": "warn"}}]
    built = healthy(three_nodes(duration=60.0, expectations=expected))
    built.lose(1, "n1")
    built.events = [e for e in built.events if getattr(e, "event", "") != "inconsistent_database"]
    built.problems = ("n2: read kv: connection lost",)
    for mark in ("worker_lost", "renewal_missed"):
        built.mark(mark, 20.0)
    verdict = check(built.build(tmp_path / "a"))
    if name == "probes":
        built.mark("probe_failed", 20.0, node="n1")
        verdict = check(built.build(tmp_path / "b"))
    assert all(finding.warns for finding in verdict.of(name)), verdict.of(name)


def test_without_mnesia_its_checks_do_not_apply(tmp_path: Path) -> None:
    load = three_nodes().load.model_copy(update={"operations": ()})
    plan = three_nodes(duration=60.0, mnesia=False, tables=[], timeline=[], load=load.model_dump())
    built = HistoryBuilder(plan)
    built.steady(0, 60, 5, kind="rpc")
    verdict = check(built.build(tmp_path))
    assert verdict.outcome == "PASS"
    for name in ("acked_lost", "replica_divergence", "unreported_divergence", "view_agreement", "dual_majority"):
        assert {f.outcome for f in verdict.of(name)} == {"not_applicable"}


def test_an_empty_run_is_inconclusive(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.without_final = True
    verdict = check(built.build(tmp_path))
    assert verdict.outcome == "INCONCLUSIVE"
    assert {f.check for f in verdict.findings if f.decisive} >= {"enough_samples", "final_state", "fault_bit"}


def test_every_check_a_scenario_can_name_exists() -> None:
    assert set(expectations.CHECKS) <= set(CHECKS)
    assert tuple(expectations.PHASES) == PHASES
