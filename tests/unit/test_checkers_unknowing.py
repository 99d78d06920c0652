"""No PASS without knowledge: what a check could not see is unknown, however good the rest looks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from histories import HistoryBuilder, healthy
from plans import NAMES, three_nodes

from harness.checkers import Finding, Verdict, check
from harness.cli import cli
from harness.errors import HarnessError
from harness.history import FaultRecord, Mark

CUT = {"id": "s1", "name": "", "kind": "partition", "at": 10.0, "action": {"groups": [["n1"], ["n2", "n3"]]}}
KILL = {"id": "s1", "name": "", "kind": "kill", "at": 10.0, "lasts": 3.0, "action": {"nodes": ["n2"]}}


def judged(built: HistoryBuilder, folder: Path) -> Verdict:
    return check(built.build(folder))


def one(verdict: Verdict, name: str) -> Finding:
    (finding,) = verdict.of(name)
    return finding


def expecting(check: str, **limit: Any) -> Any:
    return three_nodes(duration=60.0, expectations=[{"check": check, "limit": limit}])


def updating(*more: dict[str, Any]) -> Any:
    operations = [{"name": "update kv transaction", "kind": "update", "weight": 1, "on": NAMES, "table": "kv",
                   "context": "transaction", "keys": 10}, *more]  # fmt: skip
    load = three_nodes().load.model_dump() | {"operations": operations}
    return three_nodes(duration=60.0, load=load)


# --- a folder that lost something ---


def whole(plan: Any = None) -> HistoryBuilder:
    built = healthy(plan if plan is not None else expecting("lag", limit=0.1))
    pairs = tuple(permutations(NAMES, 2))
    contexts = ("transaction", "async_dirty")
    built.lag = [(at, 0.0005, at, "kv", *pair, c) for at in range(1, 50) for pair in pairs for c in contexts]
    answered = sum(row[7] >= 0 for row in built._rows)
    built.load = {
        "offered": answered,
        "completed": answered,
        "dropped": {},
        "workers": {},
        "lag_samples": len(built.lag),
    }
    return built


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole().write(tmp_path_factory.mktemp("whole")).path


PARTS = (
    "plan.json", "events.jsonl", "load-summary.json", "history/ops-w1.seg", "history/ops-w1.words", "history/lag.seg",
    "final/state.json", "final/kv@n1.u64", "final/kv@n3.u64",
)  # fmt: skip


def damages(size: int) -> Iterator[Callable[[Path], object]]:
    yield Path.unlink
    for length in sorted({0, 1, size // 2, size // 2 // 64 * 64, size - 65, size - 64, size - 32, size - 8, size - 1}):
        yield lambda path, length=length: path.write_bytes(path.read_bytes()[: max(length, 0)])  # type: ignore[misc]
    yield lambda path: path.write_bytes(b"\xff\x00" + path.read_bytes()[2:])
    yield lambda path: path.write_bytes(
        path.read_bytes()[: size // 2] + b"\xff}\n" + path.read_bytes()[size // 2 + 3 :]
    )


def test_a_whole_folder_passes(run: Path) -> None:
    told = CliRunner().invoke(cli, ["check", str(run)], catch_exceptions=False, standalone_mode=False)
    assert told.output.startswith("PASS")


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_that_lost_something_never_passes_and_says_so_in_a_line(run: Path, tmp_path: Path, part: str) -> None:
    for number, damage in enumerate(damages((run / part).stat().st_size)):
        copy = tmp_path / str(number)
        shutil.copytree(run, copy)
        whole = (copy / part).read_bytes()
        damage(copy / part)
        left = (copy / part).read_bytes() if (copy / part).exists() else None
        if left is not None and left.rstrip(b"\n") == whole.rstrip(b"\n"):
            continue
        if left is not None and len(left) == len(whole) and part.endswith((".u64", ".seg")):
            continue  # other numbers: another history, not a damaged one
        assert exit_code(copy) in (2, 5), (number, part)


def exit_code(run: Path) -> int:
    """Of ``harness check``, which may raise nothing but what is told in one line."""
    try:
        told = CliRunner().invoke(cli, ["check", str(run)], catch_exceptions=False, standalone_mode=False)
    except HarnessError as error:
        return error.exit_code
    return int(told.return_value)


def test_a_node_without_probe_samples_leaves_lag_open(tmp_path: Path) -> None:
    built = whole()
    built.lag = [sample for sample in built.lag if "n3" not in sample[4:6]]
    built.load = {**built.load, "lag_samples": len(built.lag)}
    findings = judged(built, tmp_path).of("lag")
    assert {f.outcome for f in findings} == {"unknown"}
    assert "no sample at all from n1 to n3" in findings[0].summary


# --- operations nobody knows the end of ---


def test_latency_does_not_pass_over_operations_without_an_answer(tmp_path: Path) -> None:
    built = healthy(expecting("latency", limit=0.1, phase="after"))
    assert one(judged(built, tmp_path / "a"), "latency").outcome == "pass"
    for at in range(35, 60):
        for _ in range(3):
            built.op(at, took=5.0, outcome="unknown", reason="timeout")
    assert one(judged(built, tmp_path / "b"), "latency").outcome == "unknown"


@pytest.mark.parametrize(("check", "limit"), [("latency", {"limit": 5.0}), ("availability", {"min": 0.9})])
def test_operations_dropped_before_they_began_are_not_left_out(tmp_path: Path, check: str, limit: Any) -> None:
    built = healthy(expecting(check, **limit))
    assert one(judged(built, tmp_path / "a"), check).outcome == "pass"
    built.load = {"offered": 9000, "dropped": {"all_users_busy": 6000}}
    verdict = judged(built, tmp_path / "b")
    assert one(verdict, check).outcome == "unknown"
    assert verdict.outcome == "INCONCLUSIVE"


def test_what_was_dropped_in_another_phase_is_not_held_against_this_one(tmp_path: Path) -> None:
    load = three_nodes().load.model_copy(update={"rate": 50.0}).model_dump()
    limit = {"check": "availability", "limit": {"min": 0.99, "phase": "after"}}
    built = healthy(three_nodes(duration=60.0, load=load, expectations=[limit]))
    built.load = {"offered": 3000, "dropped": {"all_users_busy": 500}}
    assert one(judged(built, tmp_path), "availability").outcome == "pass"


def test_a_write_that_was_given_up_has_no_length(tmp_path: Path) -> None:
    built = healthy(expecting("writer_stall", limit=20.0))
    stalls = judged(built, tmp_path / "a").of("writer_stall")
    assert {f.outcome for f in stalls} == {"pass"}
    built.op(12.0, target="n2", took=10.0, outcome="unknown", reason="timeout")
    (stall,) = (f for f in judged(built, tmp_path / "b").of("writer_stall") if "transaction" in f.subject)
    assert stall.outcome == "unknown"
    built.op(12.0, target="n2", took=25.0)
    (stall,) = (f for f in judged(built, tmp_path / "c").of("writer_stall") if "transaction" in f.subject)
    assert stall.outcome == "fail"


# --- phases in which nothing was tried ---


@pytest.mark.parametrize("outcome", ["unknown", "fail"])
def test_a_calm_phase_in_which_nothing_succeeded_is_unknown(tmp_path: Path, outcome: str) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 32.9)
    built.steady(0, 32.9, 5, context="async_dirty")
    built.steady(34, 60, outcome=outcome, reason="timeout")
    finding = one(judged(built, tmp_path), "enough_samples")
    assert (finding.outcome, finding.evidence[0]["phase"]) == ("unknown", "after")


def test_an_operation_without_an_answer_is_no_sample_of_all_that_comes_after(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 32.9)
    built.steady(0, 32.9, 5, context="async_dirty")
    for _ in range(20):
        built.op(11.0, took=None)
    assert one(judged(built, tmp_path), "enough_samples").outcome == "unknown"


def test_a_table_that_was_full_before_the_fault_was_not_written_under_it(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 5)
    built.steady(0, 5, 5, context="async_dirty")
    built.steady(0, 60, kind="read")
    assert one(judged(built, tmp_path / "a"), "enough_samples").outcome == "pass"
    built.load = {"offered": 5000, "dropped": {"max_rows": 2000}}
    finding = one(judged(built, tmp_path / "b"), "enough_samples")
    assert finding.outcome == "unknown"
    assert "max_rows" in finding.evidence[0]["problem"]


def test_a_call_that_never_succeeded_is_unknown(tmp_path: Path) -> None:
    operations = [*three_nodes().load.model_dump()["operations"],
                  {"name": "rpc", "kind": "rpc", "weight": 1, "on": NAMES}]  # fmt: skip
    built = healthy(three_nodes(duration=60.0, load=three_nodes().load.model_dump() | {"operations": operations}))
    built.steady(0, 60, 5, kind="rpc", outcome="fail", reason="undef")
    finding = one(judged(built, tmp_path), "enough_samples")
    assert {"operation": "rpc", "problem": "never succeeded"} in finding.evidence


def test_writes_of_a_locustfile_that_never_succeeded_are_unknown(tmp_path: Path) -> None:
    load = three_nodes().load.model_dump() | {"operations": [], "locustfile": "shop.py"}
    built = HistoryBuilder(three_nodes(duration=60.0, load=load))
    built.cut()
    built.steady(0, 60, kind="rpc")
    built.steady(0, 60, 5, outcome="unknown", reason="timeout")
    assert one(judged(built, tmp_path), "enough_samples").outcome == "unknown"


# --- faults ---


@pytest.mark.parametrize("ended", ["timeout", "load ended"])
def test_a_fault_that_waited_for_an_event_in_vain_is_unknown(tmp_path: Path, ended: str) -> None:
    built = healthy(three_nodes(duration=60.0, timeline=[{**CUT, "until": {"event": "mnesia_down"}}]))
    assert one(judged(built, tmp_path / "a"), "fault_bit").outcome == "pass"
    (at,) = (i for i, e in enumerate(built.events) if getattr(e, "stage", "") == "healing")
    healing = built.events[at]
    assert isinstance(healing, FaultRecord)
    built.events[at] = replace(healing, detail={"ended": ended})
    finding = one(judged(built, tmp_path / "b"), "fault_bit")
    assert finding.outcome == "unknown"
    assert "mnesia_down" in finding.summary


def test_a_kill_that_nobody_was_seen_to_notice_has_no_recovery_time(tmp_path: Path) -> None:
    plan = three_nodes(duration=60.0, timeline=[KILL], expectations=[{"check": "recovery", "limit": {"limit": 10.0}}])
    built = HistoryBuilder(plan)
    built.steady(0, 60)
    built.steady(0, 60, 5, context="async_dirty")
    built.fault("s1", "kill", ("n2",), injecting=10, bit=10.1, healing=13, healed=14)
    assert one(judged(built, tmp_path / "a"), "recovery").outcome == "unknown"
    for node in ("n1", "n3"):
        built.seen(10.05, node, "nodedown", "n2")
        built.seen(13.5, node, "nodeup", "n2")
    assert one(judged(built, tmp_path / "b"), "recovery").outcome == "pass"


# --- majority ---


def test_a_minority_write_without_an_answer_that_took_effect_is_unknown(tmp_path: Path) -> None:
    built = healthy()
    hung = built.op(20.0, target="n1", took=None)
    assert one(judged(built, tmp_path / "a"), "minority_refuses").outcome == "pass"
    built.hold(hung)
    assert one(judged(built, tmp_path / "b"), "minority_refuses").outcome == "unknown"


def test_a_minority_whose_writes_all_hang_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 60, on=("n2", "n3"))
    built.op(20.0, target="n1", took=None)
    finding = one(judged(built, tmp_path), "minority_refuses")
    assert (finding.outcome, finding.summary) == (
        "unknown", "no minority transaction was answered while the cut lasted",
    )  # fmt: skip


def test_a_minority_that_fell_silent_while_the_cut_was_known_was_not_judged(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.cut()
    built.steady(0, 10)
    built.steady(0, 10, 5, context="async_dirty")
    built.steady(10, 60, on=("n2", "n3"))
    verdict = judged(built, tmp_path)
    assert one(verdict, "minority_refuses").outcome == "unknown"
    assert verdict.outcome == "INCONCLUSIVE"


def test_a_key_that_hung_on_one_side_and_was_committed_on_the_other_is_unknown(tmp_path: Path) -> None:
    built = HistoryBuilder(updating())
    built.cut()
    built.steady(0, 60, kind="update", key=1, on=("n2", "n3"))
    hung = built.op(20.0, "update", key=1, target="n1", took=None)
    assert one(judged(built, tmp_path / "a"), "dual_majority").outcome == "pass"
    built.discarded = {"kv": [hung]}
    finding = one(judged(built, tmp_path / "b"), "dual_majority")
    assert finding.outcome == "unknown"
    assert {e["target"] for e in finding.evidence} >= {"n1"}


def test_one_side_alone_is_no_dual_majority_that_was_looked_for(tmp_path: Path) -> None:
    built = HistoryBuilder(updating())
    built.cut()
    built.steady(0, 60, kind="update", key=1, on=("n2", "n3"))
    assert one(judged(built, tmp_path), "dual_majority").outcome == "not_applicable"


# --- what was read at the end ---


def test_a_final_state_that_lacks_a_copy_or_a_node_says_so_itself(tmp_path: Path) -> None:
    built = healthy()
    built.unread = {("kv", "n2")}
    assert "n2: its copy of kv" in one(judged(built, tmp_path / "a"), "final_state").summary
    built = healthy()
    built.unanswered = {"n3"}
    assert "n3" in one(judged(built, tmp_path / "b"), "final_state").summary


def test_a_closed_loop_that_left_no_figures_is_unknown(tmp_path: Path) -> None:
    built = healthy()
    built.load = {}
    assert one(judged(built, tmp_path), "generator").outcome == "unknown"


def test_a_journal_that_ends_early_is_unknown(tmp_path: Path) -> None:
    built = healthy()
    built.events = [e for e in built.events if not (isinstance(e, Mark) and e.detail.get("phase") == "judging")]
    verdict = judged(built, tmp_path)
    assert "journal ends" in one(verdict, "record").summary
    assert verdict.outcome == "INCONCLUSIVE"


def test_a_pause_that_nobody_noticed_is_over_when_it_is_healed_and_not_after_the_next_fault(tmp_path: Path) -> None:
    pause = {"id": "s0", "name": "", "kind": "pause", "at": 5.0, "lasts": 1.0, "action": {"nodes": ["n1"]}}
    built = HistoryBuilder(three_nodes(duration=60.0, timeline=[pause, KILL]))
    built.steady(0, 60)
    built.fault("s0", "pause", ("n1",), injecting=5, bit=5.1, healing=6, healed=6.1)
    built.fault("s1", "kill", ("n2",), injecting=10, bit=10.1, healing=13, healed=14)
    for node in ("n1", "n3"):
        built.seen(10.05, node, "nodedown", "n2")
        built.seen(13.5, node, "nodeup", "n2")
    first, second = judged(built, tmp_path).of("recovery")
    assert (first.outcome, first.summary.partition(" after ")[0]) == ("pass", "whole again 100 ms")
    assert second.outcome == "pass"
