"""A run's folder back as a History, and its export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from histories import HistoryBuilder, healthy, ns

from harness.checkers import check
from harness.errors import RunNotFound, UsageError
from harness.history import FinalState, NodeView, ReplicaState
from harness.history_files import export, load_history, read_final, write_final
from harness.store import RunDir


def final() -> FinalState:
    ids = np.array([3, 9, 2**63 + 1], dtype=np.uint64)
    return FinalState(
        time=7,
        replicas=(
            ReplicaState("n1", "kv", 3, "aa", True, ids, {4: (9, 3)}),
            ReplicaState("n2", "shop/orders", 5, "bb", False),
        ),
        views=(NodeView("n1", True, ("n2",), ("n1", "n2"), {"kv": ("n1",)}), NodeView("n2", False)),
        problems=("n3 did not answer",),
        discarded={"kv": np.array([8], dtype=np.uint64)},
        rpc=({"call": "a:b()", "ok": True},),
    )


def test_the_final_state_round_trips(tmp_path: Path) -> None:
    rundir = HistoryBuilder().write(tmp_path)
    state = final()
    write_final(rundir, state)
    back = read_final(rundir)
    assert back is not None
    assert back.replicas[0].ids is not None
    assert back.replicas[0].ids.tolist() == [3, 9, 2**63 + 1]
    assert (back.replicas[0].updates, back.replicas[1]) == ({4: (9, 3)}, state.replicas[1])
    assert (back.views, back.problems, back.rpc) == (state.views, state.problems, state.rpc)
    assert back.discarded["kv"].tolist() == [8]


def test_a_run_without_final_state_has_none_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.without_final = True
    rundir = built.write(tmp_path)
    assert read_final(rundir) is None
    write_final(rundir, final())
    (rundir.final / "kv@n1.u64").unlink()
    with pytest.raises(RunNotFound, match=r"state\.json"):
        read_final(rundir)


def test_events_come_in_the_order_of_time(tmp_path: Path) -> None:
    built = HistoryBuilder()
    built.seen(5.0, "n1", "nodeup", "n2")
    built.seen(2.0, "n2", "nodeup", "n1")
    times = [event.time for event in built.build(tmp_path).events]
    assert times == sorted(times)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        RunDir.open(tmp_path)


def test_the_verdict_is_the_same_from_the_files_a_second_time(tmp_path: Path) -> None:
    rundir = healthy().write(tmp_path)
    first = check(load_history(rundir))
    assert check(load_history(RunDir.open(rundir.path))) == first


def exported(folder: Path, form: str) -> list[str]:
    built = HistoryBuilder()
    built.fault("s1", "partition", ("n1",), injecting=2.0)
    built.op(1.0, target="n1", took=2.0)
    built.op(1.5, "read", target="n2", outcome="fail", reason='{aborted,"no"}')
    built.op(4.0, "update", key=3, took=None)
    return list(export(built.write(folder), form))


def test_jsonl_tells_invocations_completions_and_events_in_order(tmp_path: Path) -> None:
    told = [json.loads(line) for line in exported(tmp_path, "jsonl")]
    assert [t["time"] for t in told] == sorted(t["time"] for t in told)
    kinds = [t["type"] for t in told]
    assert kinds == ["mark", "invoke", "invoke", "fail", "fault", "ok", "invoke", "mark", "mark"]
    completed = told[3]
    assert (completed["reason"], completed["kind"], completed["target"]) == ('{aborted,"no"}', "read", "n2")
    assert told[6] == {
        "type": "invoke",
        "time": ns(4.0),
        "id": 3,
        "process": 3,
        "op": "update kv transaction",
        "kind": "update",
        "target": "n1",
        "table": "kv",
        "context": "transaction",
        "key": 3,
        "intended": ns(4.0),
    }


def test_edn_is_what_jepsen_reads(tmp_path: Path) -> None:
    lines = exported(tmp_path, "edn")
    assert lines[1] == (
        f'{{:index 0, :type :invoke, :process 1, :f :write, :value [1 1], :time {ns(1.0)}, :node "n1", '
        ':table "kv", :context :transaction}'
    )
    assert ":type :info, :process :nemesis, :f :partition" in lines[4]
    assert ':error "{aborted,\\"no\\"}"' in lines[3]


def test_another_format_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="xml"):
        list(export(HistoryBuilder().write(tmp_path), "xml"))
