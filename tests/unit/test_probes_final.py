"""The end of a run: come to rest, then read every copy; a node that is gone is a problem and no exception."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from fakes import ScriptedNode, scripted_cluster
from plans import NAMES, three_nodes
from test_probes_views import ALL, says, table

from harness.errors import CallTimeout, ConnectionLost, EnvironmentProblem, NotSent, RemoteError
from harness.etf import Atom, Term
from harness.history import Mark
from harness.probes import baseline, quiesce, read_final_state, run_setup

GONE = ConnectionLost("rpc", "connection refused")


def node(name: str, **changes: Term) -> ScriptedNode:
    answers: dict[str, Any] = {
        "harness_probe:start": Atom("ok"),
        "harness_probe:views": says(name),
        "harness_probe:digest": (3, bytes(16)),
        "harness_probe:copy": lambda _tab, more: (
            (struct.pack(">QQ", 7, 2), (Atom("after"), 2)) if more == "start" else (struct.pack(">Q", 5), Atom("done"))
        ),
        "harness_probe:updates": [(4, [5, 7])],
    }
    return ScriptedNode(name, answers | {f"harness_probe:{key}": value for key, value in changes.items()})


def test_every_copy_is_read_from_its_own_node() -> None:
    cluster = scripted_cluster(*(node(name) for name in NAMES))
    final = read_final_state(cluster, three_nodes(), {})
    assert final.problems == ()
    assert [(r.node, r.table, r.count, r.digest, r.serves_reads) for r in final.replicas] == [
        (name, "kv", 3, "00" * 16, True) for name in NAMES
    ]
    first = final.replicas[0]
    assert first.ids is not None
    assert first.ids.tolist() == [2, 5, 7]
    assert first.updates == {4: (5, 7)}
    assert final.views[0].where_to_write["kv"] == NAMES


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"views": GONE, "start": GONE}, "n2: does not answer; its copies of kv are unread"),
        ({"digest": (Atom("error"), Atom("no_copy"))}, "n2: table kv: has no copy there"),
        ({"copy": (Atom("error"), Atom("changed"))}, "n2: table kv: cannot be read"),
        ({"digest": GONE}, "n2: table kv: connection refused"),
    ],
)
def test_what_cannot_be_read_is_a_problem(changes: dict[str, Term], problem: str) -> None:
    cluster = scripted_cluster(node("n1"), node("n2", **changes), node("n3"))
    final = read_final_state(cluster, three_nodes(), {})
    assert [p[: len(problem)] for p in final.problems] == [problem]
    assert [r.node for r in final.replicas] == ["n1", "n3"]


def test_a_copy_that_is_not_loaded_serves_nobody() -> None:
    unloaded = says("n2", tables=table(where_to_read=ALL[0]))
    cluster = scripted_cluster(node("n1"), node("n2", views=unloaded), node("n3"))
    final = read_final_state(cluster, three_nodes(), {})
    assert {r.node: r.serves_reads for r in final.replicas} == {"n1": True, "n2": False, "n3": True}


def test_observed_tables_are_digested_only() -> None:
    plan = three_nodes(tables=[], observed_tables=["kv"])
    final = read_final_state(scripted_cluster(*(node(name) for name in NAMES)), plan, {})
    assert [(r.table, r.ids, r.count) for r in final.replicas] == [("kv", None, 3)] * 3


OK, WRONG, RAISED = Atom("ok"), b"ok", RemoteError("rpc", "error", Atom("undef"))
SILENT = [
    GONE,
    NotSent("rpc", "connection refused"),
    CallTimeout("rpc", "no answer within 5 s"),
    RemoteError("rpc", "badrpc", "unreadable answer"),
]


@pytest.mark.parametrize(
    ("on", "given", "outcome"),
    [
        *[("all", (OK, OK, silent), "unknown") for silent in SILENT],
        *[("any", (WRONG, RAISED, silent), "unknown") for silent in SILENT],
        ("all", (OK, WRONG, GONE), "fail"),
        ("all", (OK, RAISED, GONE), "fail"),
        ("any", (OK, WRONG, GONE), "ok"),
        ("any", (WRONG, RAISED, WRONG), "fail"),
        ("all", (OK, OK, OK), "ok"),
    ],
)
def test_no_answer_is_not_a_wrong_one(on: Any, given: tuple[Any, ...], outcome: str) -> None:
    plan = three_nodes(
        expected_answers=[{"call": {"module": "shop", "function": "invariant"}, "returns": ":ok", "on": on}]
    )
    nodes = [node(name) for name in NAMES]
    for one, answer in zip(nodes, given, strict=True):
        one.answers["shop:invariant"] = answer
    (answered,) = read_final_state(scripted_cluster(*nodes), plan, {}).rpc
    assert (answered["outcome"], answered["ok"]) == (outcome, outcome == "ok")


@pytest.mark.parametrize(("on", "ok"), [("all", False), ("any", True), (["n1"], True)])
def test_expected_answers_are_kept_as_evidence(on: Any, ok: bool) -> None:
    call = {"module": "shop", "function": "invariant", "args": [":now"], "timeout": 1.0}
    plan = three_nodes(expected_answers=[{"call": call, "returns": ":ok", "on": on}])
    nodes = [node(name) for name in NAMES]
    for one, answer in zip(nodes, (Atom("ok"), b"ok", RemoteError("rpc", "error", Atom("badarg"))), strict=True):
        one.answers["shop:invariant"] = answer
    (answer,) = read_final_state(scripted_cluster(*nodes), plan, {}).rpc
    assert answer["ok"] is ok
    assert answer["returned"]["n1"] == ":ok"
    assert nodes[0].calls[-1] == ("shop:invariant", [Atom("now")])
    if on != ["n1"]:
        assert answer["returned"]["n2"] == "ok"  # a binary, not the atom
        assert "badarg" in answer["returned"]["n3"]["error"]


# --- baseline, setup, quiesce -------------------------------------------------------------------------------------


def test_the_baseline_names_node_and_cause() -> None:
    baseline(scripted_cluster(*(node(name) for name in NAMES)), three_nodes(), timeout=0)
    stranger = node("n3", views=says("n3", nodes=ALL[:1]))
    with pytest.raises(EnvironmentProblem, match="n3: baseline: is not connected with n2") as told:
        baseline(scripted_cluster(node("n1"), node("n2"), stranger), three_nodes(), timeout=0)
    assert told.value.exit_code == 4


def test_setup_runs_on_the_first_node() -> None:
    nodes = [node(name) for name in NAMES]
    nodes[0].answers["shop:seed"] = Atom("ok")
    plan = three_nodes(setup=[{"module": "shop", "function": "seed", "args": ["a", 1], "timeout": 1.0}])
    run_setup(scripted_cluster(*nodes), plan)
    assert nodes[0].calls == [("shop:seed", [b"a", 1])]
    nodes[0].answers["shop:seed"] = RemoteError("rpc", "error", Atom("undef"))
    with pytest.raises(EnvironmentProblem, match="n1: setup shop:seed/2"):
        run_setup(scripted_cluster(*nodes), plan)


def test_quiesce_reconnects_and_never_recovers() -> None:
    nodes = {name: node(name) for name in NAMES}

    def connect(peer: Term) -> bool:
        for name in ("n1", "n2"):
            nodes[name].answers["harness_probe:views"] = says(name)
        return True

    nodes["n1"].answers |= {"harness_probe:views": says("n1", nodes=ALL[2:]), "net_kernel:connect_node": connect}
    marks: list[Mark] = []
    report = quiesce(scripted_cluster(*nodes.values()), three_nodes(quiesce=60.0), marks.append)
    assert (report.whole, report.rested, report.reconnected) == (True, True, (("n1", "n2"),))
    assert marks[0].name == "quiesced"
    assert {call.split(":")[0] for n in nodes.values() for call, _ in n.calls} == {"harness_probe", "net_kernel"}


def test_quiesce_gives_up_at_its_deadline_and_says_what_is_left() -> None:
    away = node("n3", views=GONE)
    marks: list[Mark] = []
    report = quiesce(scripted_cluster(node("n1"), node("n2"), away), three_nodes(quiesce=0.3), marks.append)
    assert not report.whole
    assert "n3 does not answer" in report.left
