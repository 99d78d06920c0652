"""Membership, detection, recovery, majority, stalls: fail, pass, unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from histories import HistoryBuilder, healthy
from plans import three_nodes

from harness.checkers import Facts, Finding, Verdict, check
from harness.report.told import headline


def judged(built: HistoryBuilder, folder: Path) -> Verdict:
    return check(built.build(folder))


def expecting(check_name: str, **limit: Any) -> HistoryBuilder:
    return healthy(three_nodes(duration=60.0, expectations=[{"check": check_name, "limit": limit}]))


def one(verdict: Verdict, name: str) -> Finding:
    (finding,) = verdict.of(name)
    return finding


# --- mesh_complete, view_agreement ---


def test_a_node_that_misses_another_breaks_the_mesh(tmp_path: Path) -> None:
    built = healthy()
    built.not_connected = {("n1", "n3"), ("n3", "n1")}
    finding = one(judged(built, tmp_path), "mesh_complete")
    assert finding.outcome == "fail"
    assert {"node": "n1", "not connected with": ["n3"]} in finding.evidence


@pytest.mark.parametrize("name", ["mesh_complete", "view_agreement"])
def test_a_node_that_does_not_answer_leaves_it_open(tmp_path: Path, name: str) -> None:
    built = healthy()
    built.unanswered = {"n2"}
    finding = one(judged(built, tmp_path), name)
    assert finding.outcome == "unknown"
    assert "n2" in finding.summary


def test_split_running_db_nodes_disagree(tmp_path: Path) -> None:
    built = healthy()
    built.not_running = {("n1", "n2"), ("n1", "n3")}
    finding = one(judged(built, tmp_path), "view_agreement")
    assert finding.outcome == "fail"
    assert finding.evidence[0]["running_db_nodes"] == ["n1"]


def test_where_to_write_without_a_copy_disagrees(tmp_path: Path) -> None:
    built = healthy()
    built.where_to_write["n2"] = ("n2", "n3")
    assert one(judged(built, tmp_path), "view_agreement").outcome == "fail"


@pytest.mark.parametrize("nodes", [("n2",), ("n1", "n2", "n3")])
def test_a_table_that_a_node_does_not_know_is_no_agreement(tmp_path: Path, nodes: tuple[str, ...]) -> None:
    built = healthy()
    built.unknown_tables = {("kv", node) for node in nodes}
    finding = one(judged(built, tmp_path), "view_agreement")
    assert finding.outcome == "fail"
    assert {e["node"] for e in finding.evidence} == set(nodes)


def test_a_severity_of_warn_never_fails(tmp_path: Path) -> None:
    built = expecting("mesh_complete", severity="warn")
    built.not_connected = {("n1", "n3")}
    verdict = judged(built, tmp_path)
    assert verdict.outcome == "PASS"
    assert one(verdict, "mesh_complete").warns


# --- detection, detect_bound, recovery ---


@pytest.mark.parametrize(("limit", "outcome"), [(4.0, "fail"), (5.5, "pass")])
def test_detection_is_held_against_its_limit(tmp_path: Path, limit: float, outcome: str) -> None:
    finding = one(judged(expecting("detection", limit=limit), tmp_path), "detection")
    assert finding.outcome == outcome
    assert finding.severity == "fail"
    assert finding.value == pytest.approx(4.9)
    assert len(finding.evidence) == 3


@pytest.mark.parametrize(
    ("limit", "error_ns", "outcome"),
    [(4.8, 0, "fail"), (4.8, 200_000_000, "unknown"), (5.0, 200_000_000, "unknown"), (5.5, 200_000_000, "pass")],
)
def test_a_limit_within_the_error_of_the_clocks_is_left_open(
    tmp_path: Path, limit: float, error_ns: int, outcome: str
) -> None:
    built = expecting("detection", limit=limit)
    built.events = [
        replace(e, detail={**e.detail, "error_ns": error_ns}) if getattr(e, "event", "") == "nodedown" else e
        for e in built.events
    ]
    assert one(judged(built, tmp_path), "detection").outcome == outcome


def cut_short(built: HistoryBuilder) -> HistoryBuilder:
    built.cut(at=10.0, heal=13.0, detected=None)
    built.steady(0, 60)
    built.steady(0, 60, 5, context="async_dirty")
    return built


def test_a_fault_that_ended_before_detection_leaves_the_limit_open(tmp_path: Path) -> None:
    plan = three_nodes(duration=60.0, expectations=[{"check": "detection", "limit": {"limit": 5.0}}])
    verdict = judged(cut_short(HistoryBuilder(plan)), tmp_path)
    assert one(verdict, "detection").outcome == "unknown"
    assert verdict.outcome == "INCONCLUSIVE"


def test_without_a_limit_an_undetected_fault_is_only_told(tmp_path: Path) -> None:
    verdict = judged(cut_short(HistoryBuilder()), tmp_path)
    assert verdict.outcome == "PASS"
    assert one(verdict, "detection").outcome == "not_applicable"


def test_a_cut_that_outlasts_its_limit_unseen_fails(tmp_path: Path) -> None:
    plan = three_nodes(duration=60.0, expectations=[{"check": "detection", "limit": {"limit": 2.0}}])
    assert one(judged(cut_short(HistoryBuilder(plan)), tmp_path), "detection").outcome == "fail"


def unseen(lasts: float, **plan: Any) -> HistoryBuilder:
    """A healthy run with updates whose cut nobody was seen to notice."""
    built = HistoryBuilder(three_nodes(duration=60.0, **plan))
    built.cut(heal=10.0 + lasts, detected=None)
    built.steady(0, 60)
    built.steady(0, 60, 10, context="async_dirty")
    built.steady(0, 60, 10, kind="update", key=3)
    return built


def test_a_long_cut_that_nobody_was_seen_to_notice_is_inconclusive(tmp_path: Path) -> None:
    verdict = judged(unseen(20.0), tmp_path)
    assert verdict.outcome == "INCONCLUSIVE"
    for name in ("detection", "detect_bound", "minority_refuses", "dual_majority", "dirty_bypass"):
        assert one(verdict, name).outcome == "unknown", name
    assert {f.check for f in verdict.findings if f.decisive} == {"detect_bound", "minority_refuses", "dual_majority"}
    assert "n1, n2, n3 was not seen to notice" in one(verdict, "detect_bound").summary


def test_a_cut_too_short_to_be_noticed_does_not_apply(tmp_path: Path) -> None:
    verdict = judged(unseen(3.0), tmp_path)
    assert verdict.outcome == "PASS"
    for name in ("detect_bound", "minority_refuses", "dual_majority"):
        assert one(verdict, name).outcome == "not_applicable", name


KILL = {"id": "k", "name": "", "kind": "kill", "at": 10.0, "lasts": 20.0, "action": {"nodes": ["n2"]}}


def killed(*seen_by: str) -> HistoryBuilder:
    built = HistoryBuilder(three_nodes(duration=60.0, timeline=[KILL]))
    built.steady(0, 60)
    built.steady(0, 60, 5, context="async_dirty")
    built.fault("k", "kill", ("n2",), injecting=10.0, bit=10.01, healing=30.0, healed=32.0)
    for node in seen_by:
        built.seen(10.05, node, "nodedown", "n2", reason="connection_closed")
        built.seen(31.0, node, "nodeup", "n2")
    return built


def test_a_kill_that_one_node_was_not_seen_to_notice_is_inconclusive(tmp_path: Path) -> None:
    assert judged(killed("n1", "n3"), tmp_path / "a").outcome == "PASS"
    verdict = judged(killed("n1"), tmp_path / "b")
    assert verdict.outcome == "INCONCLUSIVE"
    assert one(verdict, "detect_bound").summary.startswith("n3 was not seen")


def test_a_node_that_died_itself_is_not_waited_for(tmp_path: Path) -> None:
    second = {**KILL, "id": "k2", "action": {"nodes": ["n3"]}}
    built = killed("n1")
    built.plan = three_nodes(duration=60.0, timeline=[KILL, second])
    built.fault("k2", "kill", ("n3",), injecting=10.02, bit=10.03, healing=30.0, healed=32.0)
    built.seen(10.06, "n1", "nodedown", "n3", reason="connection_closed")
    built.seen(31.0, "n1", "nodeup", "n3")
    verdict = judged(built, tmp_path)
    assert [f.outcome for f in verdict.of("detect_bound")] == ["pass", "pass"]
    assert verdict.outcome == "PASS"


def test_a_skew_nobody_could_see_leaves_its_limit_open(tmp_path: Path) -> None:
    expectations = [{"check": "detect_skew", "limit": {"limit": 1.0}}]
    finding = one(judged(unseen(3.0, expectations=expectations), tmp_path / "a"), "detect_skew")
    assert (finding.outcome, finding.severity) == ("unknown", "fail")
    assert one(judged(unseen(3.0), tmp_path / "b"), "detect_skew").outcome == "not_applicable"


def test_a_limit_is_not_missed_by_a_node_that_nobody_watched(tmp_path: Path) -> None:
    built = unseen(20.0, expectations=[{"check": "detection", "limit": {"limit": 2.0}}])
    for node in ("n1", "n2"):
        built.mark("probe_failed", 11.0, node=node)
    assert one(judged(built, tmp_path / "a"), "detection").outcome == "fail"
    built.mark("probe_failed", 11.0, node="n3")
    assert one(judged(built, tmp_path / "b"), "detection").outcome == "unknown"


def test_the_bound_of_net_ticktime_warns_and_does_not_fail(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut(detected=18.0)  # 8 s where ticktime 4 promises 6
    built.steady(0, 60, 20)
    verdict = judged(built, tmp_path)
    assert one(verdict, "detect_bound").warns
    assert "detect_bound" not in verdict.failed_checks


@pytest.mark.parametrize(("limit", "outcome"), [(2.5, "fail"), (3.5, "pass")])
def test_recovery_counts_from_the_order_to_heal(tmp_path: Path, limit: float, outcome: str) -> None:
    finding = one(judged(expecting("recovery", limit=limit), tmp_path), "recovery")
    assert finding.outcome == outcome
    assert finding.value == pytest.approx(3.0)


def test_a_cluster_that_never_came_together_fails_recovery(tmp_path: Path) -> None:
    plan = three_nodes(duration=60.0, expectations=[{"check": "recovery", "limit": {"limit": 15.0}}])
    built = HistoryBuilder(plan)
    built.cut(recovered=None)
    built.steady(0, 60)
    assert one(judged(built, tmp_path), "recovery").outcome == "fail"


def test_copies_that_differ_to_the_end_are_no_recovery(tmp_path: Path) -> None:
    built = expecting("recovery", limit=15.0)
    built.lose(1, "n1")
    finding = one(judged(built, tmp_path), "recovery")
    assert finding.outcome == "fail"
    assert "differ to the end" in finding.summary


def test_the_next_fault_leaves_recovery_open(tmp_path: Path) -> None:
    step = {"name": "", "kind": "partition", "at": 1.0, "lasts": 1.0, "action": {"groups": [["n1"], ["n2", "n3"]]}}
    plan = three_nodes(
        duration=60.0,
        timeline=[{"id": "s1", **step}, {"id": "s2", **step}],
        expectations=[{"check": "recovery", "limit": {"limit": 15.0}}],
    )
    built = HistoryBuilder(plan)
    built.cut(recovered=None)
    built.cut(at=35.0, heal=45.0, detected=40.0, recovered=47.0, step="s2")
    built.steady(0, 60)
    first, second = judged(built, tmp_path).of("recovery")
    assert (first.outcome, second.outcome) == ("unknown", "pass")


def test_a_kill_is_noticed_by_those_who_stay(tmp_path: Path) -> None:
    kill = {"id": "k", "name": "", "kind": "kill", "at": 10.0, "lasts": 3.0, "action": {"nodes": ["n2"]}}
    plan = three_nodes(duration=60.0, timeline=[kill], expectations=[{"check": "detection", "limit": {"limit": 1.0}}])
    built = HistoryBuilder(plan)
    built.steady(0, 60)
    built.fault("k", "kill", ("n2",), injecting=10.0, bit=10.01, healing=13.0, healed=15.0)
    for node in ("n1", "n3"):
        built.seen(10.05, node, "nodedown", "n2", reason="connection_closed")
        built.seen(14.0, node, "nodeup", "n2")
    verdict = judged(built, tmp_path)
    assert one(verdict, "detection").outcome == "pass"
    assert one(verdict, "detection").value == pytest.approx(0.04)
    assert one(verdict, "recovery").value == pytest.approx(2.0)


def test_a_cut_shorter_than_net_ticktime_is_noticed_by_none_and_that_is_no_warning(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut(at=10, heal=12, detected=None)
    built.steady(0, 60)
    built.steady(0, 60, context="async_dirty")
    history = built.build(tmp_path)
    verdict = check(history)
    (found,) = verdict.of("detection")
    assert (found.outcome, found.warns) == ("not_applicable", False)
    assert found.summary == "noticed by none while it lasted: it was shorter than net_ticktime"
    blind = "noticed by none while it lasted: shorter than net_ticktime (partition)"
    assert ("blind", blind) in headline(verdict, Facts(history))


def test_a_cut_that_was_noticed_only_after_it_was_healed_is_not_over_before_all_are_back(tmp_path: Path) -> None:
    """TCP sends again seconds after the cut is lifted; net_ticktime has run out by then."""
    limit = {"check": "recovery", "limit": {"limit": 1.0}}
    built = HistoryBuilder(three_nodes(duration=60.0, kernel={"net_ticktime": 8}, expectations=[limit]))
    built.steady(0, 60)
    built.cut(at=10, heal=16.5, detected=None)
    for peer in ("n2", "n3"):
        for node, other in (("n1", peer), (peer, "n1")):
            built.seen(18.0, node, "nodedown", other)
            built.seen(24.5, node, "nodeup", other)
    found = one(judged(built, tmp_path), "recovery")
    assert (found.outcome, found.value) == ("fail", pytest.approx(8.0))


# --- writer_stall ---


@pytest.mark.parametrize(("limit", "outcome"), [(4.0, "fail"), (6.0, "pass")])
def test_the_longest_write_is_held_against_its_limit(tmp_path: Path, limit: float, outcome: str) -> None:
    verdict = judged(expecting("writer_stall", limit=limit), tmp_path)
    (finding,) = [f for f in verdict.of("writer_stall") if f.subject == "partition, transaction"]
    assert finding.outcome == outcome
    assert finding.value == pytest.approx(4.9)


@pytest.mark.parametrize("watched", [True, False], ids=["watchdog", "nobody left"])
def test_a_run_that_was_killed_in_a_cut_has_no_end_of_it(tmp_path: Path, watched: bool) -> None:
    """What is still open then took at least until the last that is known."""
    built = HistoryBuilder()
    del built.events[1:]  # it never came to stop or judge
    built.without_final = True
    built.steady(0, 10)
    built.fault("s1", "partition", built.nodes, injecting=10.0, bit=10.1)
    for at in range(20):
        built.op(10 + at / 100, took=None)
    built.seen(13.0, "n2", "nodedown", "n1")
    if watched:
        built.mark("watchdog", 19.0, seconds=4.0)
    history = built.build(tmp_path)
    verdict = check(history)
    known = 15.0 if watched else 13.0
    (found,) = verdict.of("detection")
    assert found.summary == f"its end is not recorded; n1, n3 had not noticed {known - 10.1:.2f} s into it"
    (stall,) = (f for f in verdict.of("writer_stall") if "transaction" in f.subject)
    assert stall.summary == f"longest transaction write at least {known - 10:.2f} s; 20 never answered"
    told = dict(headline(verdict, Facts(history)))
    assert told["blind"] == "not noticed by n1, n3, and its end is not recorded (partition)"
    assert told["longest write"] == f"at least {known - 10:.2f} s (partition, transaction)"


def test_a_stall_beyond_detection_warns(tmp_path: Path) -> None:
    built = healthy()
    built.op(11.0, took=30.0)
    verdict = judged(built, tmp_path)
    (finding,) = [f for f in verdict.of("writer_stall") if f.subject == "partition, transaction"]
    assert finding.warns
    assert verdict.outcome == "PASS"


# --- majority ---


def test_a_minority_that_commits_on_a_majority_table_fails(tmp_path: Path) -> None:
    built = healthy()
    built.op(20.0, target="n1")
    verdict = judged(built, tmp_path)
    finding = one(verdict, "minority_refuses")
    assert finding.outcome == "fail"
    assert finding.evidence[0]["target"] == "n1"


def test_a_minority_that_refuses_passes_and_one_not_asked_does_not_apply(tmp_path: Path) -> None:
    assert one(judged(healthy(), tmp_path / "a"), "minority_refuses").outcome == "pass"
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 60, on=("n2", "n3"))
    assert one(judged(built, tmp_path / "b"), "minority_refuses").outcome == "not_applicable"


def test_a_minority_that_only_hangs_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 60, on=("n2", "n3"))
    built.steady(16, 20, 5, on=("n1",), took=5.0, outcome="unknown", reason="timeout")
    assert one(judged(built, tmp_path), "minority_refuses").outcome == "unknown"


def test_dirty_writes_in_a_minority_warn(tmp_path: Path) -> None:
    built = healthy()
    built.op(20.0, target="n1", context="async_dirty")
    verdict = judged(built, tmp_path)
    assert one(verdict, "dirty_bypass").warns
    assert verdict.outcome == "PASS"


def test_one_key_committed_on_both_sides_fails(tmp_path: Path) -> None:
    built = healthy()
    built.op(20.0, "update", target="n1", key=4)
    built.op(21.0, "update", target="n2", key=4)
    built.op(21.0, "update", target="n3", key=5)
    finding = one(judged(built, tmp_path), "dual_majority")
    assert (finding.outcome, finding.value) == ("fail", 1.0)
    assert {e["target"] for e in finding.evidence} == {"n1", "n2"}


def test_updates_on_one_side_pass(tmp_path: Path) -> None:
    built = healthy()
    for node in ("n2", "n3"):
        built.op(20.0, "update", target=node, key=4)
    built.op(14.0, "update", target="n1", key=4)  # before all had noticed
    built.op(20.0, "update", target="n1", key=4, outcome="fail", reason="no_majority")
    assert one(judged(built, tmp_path), "dual_majority").outcome == "pass"
