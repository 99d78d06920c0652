"""Loss, phantoms, divergence: each with a history that fails, one that passes, one that cannot say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from histories import HistoryBuilder, healthy
from plans import three_nodes

from harness.checkers import Finding, Verdict, check
from harness.history import ReplicaState


def judged(built: HistoryBuilder, folder: Path) -> Verdict:
    return check(built.build(folder))


def only(verdict: Verdict, name: str, subject: str) -> Finding:
    (finding,) = [f for f in verdict.of(name) if f.subject == subject]
    return finding


# --- acked_lost ---


def test_a_write_missing_on_one_copy_is_lost_somewhere(tmp_path: Path) -> None:
    built = healthy()
    ident = built.op(20.0, target="n2")
    built.lose(ident, "n1")
    verdict = judged(built, tmp_path)
    finding = only(verdict, "acked_lost", "kv, transaction")
    assert verdict.outcome == "FAIL"
    assert (finding.outcome, finding.value, finding.limit) == ("fail", 1.0, 0.0)
    assert "1 from some copies" in finding.summary
    (evidence,) = finding.evidence
    assert evidence["id"] == ident
    assert evidence["target"] == "n2"
    assert evidence["held_by"] == ["n2", "n3"]
    assert evidence["missing_on"] == ["n1"]
    assert evidence["when"] == "10.0 s into partition, detected"
    assert only(verdict, "acked_lost", "kv, async_dirty").outcome == "pass"


def test_a_write_missing_on_all_copies_is_lost_everywhere_and_named_first(tmp_path: Path) -> None:
    built = healthy()
    built.lose(1, "n1")
    everywhere = built.op(40.0)
    built.lose(everywhere)
    finding = only(judged(built, tmp_path), "acked_lost", "kv, transaction")
    assert "1 from every copy and 1 from some copies" in finding.summary
    assert finding.evidence[0]["id"] == everywhere
    assert finding.evidence[0]["held_by"] == []


def test_what_a_recovery_discarded_is_lost_and_says_so(tmp_path: Path) -> None:
    built = healthy()
    ident = built.op(20.0, context="async_dirty")
    built.lose(ident)
    built.discarded["kv"] = [ident]
    finding = only(judged(built, tmp_path), "acked_lost", "kv, async_dirty")
    assert finding.outcome == "fail"
    assert "1 of them discarded by recovery" in finding.summary
    assert finding.evidence[0]["discarded by recovery"] is True


def test_an_update_is_lost_when_its_id_left_the_row(tmp_path: Path) -> None:
    built = healthy()
    kept = built.op(5.0, "update", key=3)
    gone = built.op(6.0, "update", key=3)
    built.lose(gone)
    finding = only(judged(built, tmp_path), "acked_lost", "kv, transaction")
    assert [e["id"] for e in finding.evidence] == [gone] != [kept]
    assert finding.evidence[0]["key"] == 3


def test_evidence_is_bounded_and_the_value_counts_all(tmp_path: Path) -> None:
    built = healthy()
    for ident in range(1, 101):
        built.lose(ident)
    findings = judged(built, tmp_path).of("acked_lost")
    assert sum(f.value or 0 for f in findings) == 100
    assert all(len(f.evidence) <= 10 for f in findings)


def test_loss_on_a_copy_that_was_not_read_is_unknown_and_proven_loss_still_fails(tmp_path: Path) -> None:
    built = healthy()
    built.unread.add(("kv", "n3"))
    verdict = judged(built, tmp_path / "a")
    assert verdict.outcome == "INCONCLUSIVE"
    finding = only(verdict, "acked_lost", "kv, transaction")
    assert finding.outcome == "unknown"
    assert "n3" in finding.summary
    built.lose(1, "n1")
    assert only(judged(built, tmp_path / "b"), "acked_lost", "kv, transaction").outcome == "fail"


def test_a_copy_that_serves_no_reads_loses_nothing_by_itself(tmp_path: Path) -> None:
    built = healthy()
    built.lose(1, "n1")
    built.not_serving.add(("kv", "n1"))
    assert only(judged(built, tmp_path), "acked_lost", "kv, transaction").outcome == "unknown"


def test_unacknowledged_writes_cannot_be_lost(tmp_path: Path) -> None:
    built = healthy()
    built.op(20.0, took=None)
    built.op(20.0, outcome="unknown", reason="timeout")
    built.op(20.0, outcome="fail", reason="no_majority")
    assert judged(built, tmp_path).outcome == "PASS"


def test_a_loss_is_held_against_zero_whatever_a_plan_says(tmp_path: Path) -> None:
    built = healthy(three_nodes(duration=60.0, expectations=[{"check": "acked_lost", "limit": {"limit": 1}}]))
    built.lose(1, "n1", "n2", "n3")
    assert judged(built, tmp_path).outcome == "FAIL"


# --- phantom ---


def test_an_unknown_write_that_is_there_is_told_and_passes(tmp_path: Path) -> None:
    built = healthy()
    built.hold(built.op(12.0, took=None))
    verdict = judged(built, tmp_path)
    assert verdict.outcome == "PASS"
    assert only(verdict, "phantom", "kv").value == 1.0


@pytest.mark.parametrize(
    ("limit", "outcome"), [({"limit": 0}, "FAIL"), ({"limit": 1}, "PASS"), ({"limit": 0, "severity": "warn"}, "PASS")]
)
def test_phantoms_are_held_against_a_limit(tmp_path: Path, limit: dict[str, Any], outcome: str) -> None:
    built = healthy(three_nodes(duration=60.0, expectations=[{"check": "phantom", "limit": limit}]))
    built.hold(built.op(12.0, took=None))
    verdict = judged(built, tmp_path)
    assert verdict.outcome == outcome
    assert (only(verdict, "phantom", "kv").outcome == "fail") == (limit["limit"] == 0)


def test_a_refused_write_that_is_there_warns(tmp_path: Path) -> None:
    built = healthy()
    built.hold(built.op(12.0, outcome="fail", reason="aborted"))
    verdict = judged(built, tmp_path)
    assert verdict.outcome == "PASS"
    assert only(verdict, "phantom", "kv").warns


def test_a_row_that_no_recorded_operation_wrote_means_the_history_is_incomplete(tmp_path: Path) -> None:
    built = healthy()
    built.hold(999_999)
    verdict = judged(built, tmp_path)
    assert verdict.outcome == "INCONCLUSIVE"
    assert only(verdict, "phantom", "kv").outcome == "unknown"


# --- replica_divergence, unreported_divergence ---


def test_copies_that_differ_diverge_and_the_cut_reported_it(tmp_path: Path) -> None:
    built = healthy()
    built.lose(1, "n1")
    verdict = judged(built, tmp_path)
    finding = only(verdict, "replica_divergence", "kv")
    assert finding.outcome == "fail"
    assert finding.evidence[0]["nodes"] == ["n2", "n3"]
    assert finding.evidence[2]["only on n2+n3"] == {"count": 1, "ids": [1]}
    assert only(verdict, "unreported_divergence", "kv").outcome == "pass"


def test_divergence_that_nobody_reported_is_a_violation_of_its_own(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.steady(0, 60)
    built.lose(1, "n1")
    verdict = judged(built, tmp_path)
    assert only(verdict, "unreported_divergence", "kv").outcome == "fail"
    assert "unreported_divergence" in verdict.failed_checks


def test_lists_that_differ_are_shown_by_key(tmp_path: Path) -> None:
    built = healthy()
    ident = built.op(20.0, "update", key=7, target="n2")
    built.lose(ident, "n1")
    finding = only(judged(built, tmp_path), "replica_divergence", "kv")
    assert {"key": 7, "n1": [], "n2+n3": [ident]} in finding.evidence


def test_a_copy_that_was_not_read_cannot_be_compared(tmp_path: Path) -> None:
    built = healthy()
    built.unread.add(("kv", "n2"))
    verdict = judged(built, tmp_path)
    assert only(verdict, "replica_divergence", "kv").outcome == "unknown"
    assert {f.outcome for f in verdict.of("unreported_divergence")} == {"unknown"}


def test_one_copy_has_nothing_to_diverge_from(tmp_path: Path) -> None:
    table = {"name": "kv", "copies": {"n1": "ram_copies"}, "majority": False}
    built = healthy(three_nodes(duration=60.0, tables=[table]))
    assert only(judged(built, tmp_path), "replica_divergence", "kv").outcome == "not_applicable"


def test_an_observed_table_of_one_copy_has_nothing_to_diverge_from(tmp_path: Path) -> None:
    built = healthy(three_nodes(duration=60.0, observed_tables=["shop"]))
    finding = only(built_with_copies(built, tmp_path / "a", "n1"), "replica_divergence", "shop")
    assert finding.outcome == "not_applicable"
    finding = only(built_with_copies(built, tmp_path / "b", "n1", "n2"), "replica_divergence", "shop")
    assert (finding.outcome, finding.summary) == ("pass", "2 copies hold the same 3 rows")


def built_with_copies(built: HistoryBuilder, folder: Path, *nodes: str) -> Verdict:
    """A healthy run, and a table of the release's own with copies on these nodes."""
    history = built.build(folder)
    assert history.final is not None
    copies = tuple(ReplicaState(node, "shop", 3, "00", True) for node in nodes)
    return check(replace(history, final=replace(history.final, replicas=(*history.final.replicas, *copies))))
