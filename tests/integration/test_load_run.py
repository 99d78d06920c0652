"""LoadRun on real nodes: what it drives, records, reports, and how it ends."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from load_plans import Watched, load, on_table, rpc
from nodes import ErlangNode, StartErlang

from harness.cluster.engine import find_engine
from harness.cluster.modules import load_modules, probe_modules
from harness.errors import LoadFailed
from harness.etf import Atom
from harness.history import FAIL, OK, UNKNOWN, Operations
from harness.scenario.model import RpcCall
from harness.segments import merge_operations

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def nodes(start_erlang: StartErlang) -> list[ErlangNode]:
    """One node of each OTP, not connected with each other, each with a table kv and the probe's modules."""
    modules = probe_modules(find_engine(), print)
    both = [start_erlang(27), start_erlang(25)]
    for node in both:
        connection = node.connect(local="setup@harness")
        assert connection.rpc("mnesia", "start", timeout=60.0) == "ok"
        options = [(Atom("ram_copies"), [Atom(node.name)])]
        assert connection.rpc("mnesia", "create_table", [Atom("kv"), options], timeout=60.0) == (
            Atom("atomic"),
            Atom("ok"),
        )
        load_modules(SimpleNamespace(name=node.host, rpc=connection.rpc), modules, 60.0)  # type: ignore[arg-type]
        connection.close()
    return both


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Watched]]:
    """Runs to stop, whatever the test does."""
    runs: list[Watched] = []
    yield runs
    for run in runs:
        run.run.stop(2.0)
        run.rundir.close()


def of_kind(operations: Operations, kind: str) -> Operations:
    return operations.where(operations.of_kind(kind))


@pytest.mark.parametrize("rate", [None, 300.0])
def test_all_operations_in_all_contexts(
    nodes: list[ErlangNode], tmp_path: Path, started: list[Watched], rate: float | None
) -> None:
    both = ("n1", "n2")
    contexts = ("transaction", "sync_transaction", "async_dirty", "sync_dirty")
    operations = (
        rpc(on=both),
        *(on_table("write", context, on=both) for context in contexts),
        *(on_table("read", context, on=both) for context in contexts),
        on_table("update", "transaction"),
        on_table("update", "async_dirty"),
    )
    watched = Watched.of(tmp_path, load(operations, workers=2, users=8, rate=rate), nodes)
    started.append(watched)
    watched.run.start()
    began = watched.run.wait_full_load()
    watched.wait(lambda w: w.completed() > 300)
    watched.run.stop(60.0)

    history = merge_operations(watched.rundir.history)
    assert set(history.targets) == set(both)
    assert set(history.outcome) == {OK}, history.reasons
    assert {o.kind for o in history.operations} == {"rpc", "write", "read", "update"}
    assert {o.context for o in history.operations if o.kind == "write"} == set(contexts)
    assert len(np.unique(history.id)) == len(history)
    assert len(np.unique(history.process)) == 8
    assert (history.start >= history.intended).all()
    assert (history.end > history.start).all()
    assert history.start.min() >= began - 1_000_000
    assert len(history) == watched.completed()  # figures and history say the same
    reads = of_kind(history, "read")
    assert (reads.value >= 0).all()
    assert (reads.value == 1).any()  # rows lately written; the other half is on the other node, no cluster here
    rows_in_nodes, updated = set(), set()
    for node in nodes:
        connection = node.connect(local="setup@harness")
        keys = connection.rpc("mnesia", "dirty_all_keys", [Atom("kv")], timeout=60.0)
        rows_in_nodes |= {key for key in keys if isinstance(key, int)}
        updated |= {key[1] for key in keys if isinstance(key, tuple)}
        connection.close()
    assert set(of_kind(history, "write").key.tolist()) <= rows_in_nodes
    assert set(of_kind(history, "update").key.tolist()) <= updated


def test_aborted_failed_unknown(nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]) -> None:
    """Certainly not and may have are told apart; after unknown the user is another process."""
    operations = (
        on_table("write", "transaction", "no_such_table"),
        on_table("write", "async_dirty", "no_such_table"),
        rpc("undef", call=RpcCall(module="no_such_module", function="f")),
        rpc("slow", call=RpcCall(module="timer", function="sleep", args=(60_000,), timeout=1.0)),
    )
    watched = Watched.of(tmp_path, load(operations, users=2), nodes[:1])
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    watched.wait(lambda w: len(w.snapshots and {op["op"] for op in w.snapshots[-1]["ops"]}) == 4)
    watched.run.stop(60.0)
    history = merge_operations(watched.rundir.history)
    told = {
        (history.operations[op].name, outcome, history.reasons[reason])
        for op, outcome, reason in zip(
            history.op.tolist(), history.outcome.tolist(), history.reason.tolist(), strict=True
        )
    }
    assert told == {
        ("write no_such_table transaction", FAIL, "no_exists"),
        ("write no_such_table async_dirty", UNKNOWN, "badrpc_no_exists"),
        ("undef", UNKNOWN, "badrpc_undef"),
        ("slow", UNKNOWN, "timeout"),
    }
    for process in np.unique(history.process):
        mine = history.where(history.process == process)
        unknown = mine.end[mine.outcome == UNKNOWN]
        assert len(unknown) <= 1
        assert not len(unknown) or (mine.start <= unknown[0]).all()


def test_rows_are_bounded(nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]) -> None:
    watched = Watched.of(
        tmp_path, load((on_table("write", "async_dirty"),), rate=500.0, max_rows=50, ramp=0.5), nodes[:1]
    )
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    watched.wait(lambda w: w.snapshots and w.snapshots[-1]["dropped"].get("max_rows", 0) > 20)
    watched.run.stop(60.0)
    assert len(merge_operations(watched.rundir.history)) == 50
    last = watched.snapshots[-1]
    assert sum(last["offered"].values()) == 50 + sum(last["dropped"].values())


def test_a_node_that_goes_and_comes_back(start_erlang: StartErlang, tmp_path: Path, started: list[Watched]) -> None:
    node = start_erlang(27)
    watched = Watched.of(tmp_path, load((rpc(),), users=3), [node])
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    watched.wait(lambda w: w.completed() > 50)
    node.container.kill()
    refused = watched.wait(
        lambda w: [op for op in w.snapshots[-1]["ops"] if op["reason"] == "not_sent" and op["outcome"] == "fail"]
    )
    before = sum(op["count"] for op in watched.snapshots[-1]["ops"] if op["outcome"] == "ok")
    node.container.start()
    watched.wait(lambda w: sum(op["count"] for op in w.snapshots[-1]["ops"] if op["outcome"] == "ok") > before + 100)
    watched.run.stop(60.0)
    assert refused
    history = merge_operations(watched.rundir.history)
    lost = history.where(history.outcome == UNKNOWN)
    assert {history.reasons[r] for r in lost.reason} <= {"connection_lost"}
    assert len(np.unique(history.process)) == 3 + len(lost)


def test_a_killed_worker_is_named(nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]) -> None:
    """Load goes on with the others; what the dead one recorded is readable; with none left it is over."""
    watched = Watched.of(tmp_path, load((rpc(),), workers=2, users=4), nodes[:1])
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    watched.wait(lambda w: len(w.completed_by()) == 2 and min(w.completed_by().values()) > 50)
    pids = {e.detail["worker"]: e.detail["pid"] for e in watched.events if e.name == "worker_joined"}
    assert set(pids.values()) <= {pid for pid, _ in watched.rundir.recorded_children()}
    os.kill(pids["w1"], signal.SIGKILL)
    lost = watched.wait(lambda w: [e for e in w.events if e.name == "worker_lost"])
    assert [(e.detail["worker"], e.detail["exit_code"]) for e in lost] == [("w1", -9)]
    assert watched.run.wait_trouble(0.0) is None
    os.kill(pids["w2"], signal.SIGKILL)
    trouble = watched.run.wait_trouble(60.0)
    assert isinstance(trouble, LoadFailed)
    assert "w2" in str(trouble)
    watched.run.stop(60.0)
    for worker in ("w1", "w2"):
        assert watched.rundir.segment(worker).stat().st_size > 64 * 10
    history = merge_operations(watched.rundir.history)
    # at most the calls of the four users were open, and those completions not yet flushed
    assert np.count_nonzero(history.outcome == OK) > 50


def test_wrong_cookie_is_said(nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]) -> None:
    watched = Watched.of(tmp_path, load((rpc(),)), nodes[:1], cookie="wrong")
    started.append(watched)
    watched.run.start()
    with pytest.raises(LoadFailed, match="cookie"):
        watched.run.wait_full_load()


def test_web_page(nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]) -> None:
    watched = Watched.of(tmp_path, load((rpc("my echo"),)), nodes[:1], web=True)
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    assert watched.run.web_url is not None
    assert watched.run.web_url.startswith("http://127.0.0.1:")

    def shown(_: Watched) -> bool:
        with urllib.request.urlopen(f"{watched.run.web_url}stats/requests", timeout=60) as answer:
            return b'"name":"my echo"' in answer.read().replace(b": ", b":")

    watched.wait(shown)


def test_what_a_slow_target_cannot_take_is_counted(
    nodes: list[ErlangNode], tmp_path: Path, started: list[Watched]
) -> None:
    """Open loop: every arrival that was offered is an operation or a counted drop, and latency holds the waiting."""
    slow = rpc("slow", call=RpcCall(module="timer", function="sleep", args=(50,)))
    watched = Watched.of(tmp_path, load((slow,), users=1, rate=100.0, timeout=3.0), nodes[:1])
    started.append(watched)
    watched.run.start()
    watched.run.wait_full_load()
    watched.wait(lambda w: w.snapshots and sum(w.snapshots[-1]["dropped"].values()) > 50)
    watched.run.stop(60.0)
    last = watched.snapshots[-1]
    assert set(last["dropped"]) <= {"all_users_busy", "generator_late", "load_ended"}
    history = merge_operations(watched.rundir.history)
    assert sum(last["offered"].values()) == len(history) + sum(last["dropped"].values())
    assert 0 < last["late"] <= len(history)
    assert np.median(history.end - history.intended) > 2 * np.median(history.end - history.start)
