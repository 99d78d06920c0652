"""What nodes say of each other: read into the scenario's names, and judged whole or not."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import ScriptedNode
from plans import NAMES, three_nodes

from harness.errors import HarnessError
from harness.etf import Atom, Term
from harness.history import Observation
from harness.probes.membership import ask_view, observation
from harness.probes.view import Names, View, parse_view, unsteady

ALL = [Atom(f"{n}@{n}") for n in NAMES]


def says(node: str, **changes: Term) -> dict[Any, Term]:
    """A node's answer to ``views`` in a whole cluster."""
    others = [name for name in ALL if name != f"{node}@{node}"]
    table = {
        Atom("where_to_write"): ALL, Atom("where_to_read"): Atom(f"{node}@{node}"), Atom("storage"): Atom("ram_copies"),
        Atom("size"): 3,
    }  # fmt: skip
    told: dict[str, Term] = {
        "node": Atom(f"{node}@{node}"), "nodes": others, "mnesia": Atom("yes"), "running_db_nodes": ALL,
        "tables": {Atom("kv"): table}, "dist": {others[0]: {Atom("queue"): 7, Atom("pend"): 0}},
        "memory": 1000, "run_queue": 1, "processes": 80, "now": 5,
    }  # fmt: skip
    return {Atom(key): value for key, value in (told | changes).items()}


def views(**changed: dict[str, Term] | None) -> dict[str, View | None]:
    found: dict[str, View | None] = {}
    for name in NAMES:
        change = changed.get(name, {})
        found[name] = None if change is None else parse_view(says(name, **change), Names(three_nodes()))
    return found


def test_a_view_is_in_scenario_names() -> None:
    view = views()["n1"]
    assert view is not None
    assert view.connected == ("n2", "n3")
    assert view.running_db_nodes == NAMES
    assert view.tables["kv"].where_to_write == NAMES
    assert view.serves("kv")
    assert not view.serves("nothing")
    assert view.dist == {"n2": {"queue": 7, "pend": 0}}


def test_strangers_are_left_out_of_the_mesh() -> None:
    view = parse_view(says("n1", nodes=[*ALL[1:], Atom("operator@laptop")]), Names(three_nodes()))
    assert view.connected == ("n2", "n3")


def test_a_node_without_mnesia_has_a_view() -> None:
    view = parse_view(says("n1", mnesia=Atom("no"), running_db_nodes=[], tables={}), Names(three_nodes()))
    assert (view.mnesia, view.tables) == ("no", {})


def table(**changes: Term) -> dict[Any, Term]:
    kept = says("n2")[Atom("tables")][Atom("kv")]
    return {Atom("kv"): kept | {Atom(key): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (None, "does not answer"),
        ({"nodes": ALL[:1]}, "is not connected with n3"),
        ({"mnesia": Atom("starting")}, "Mnesia is not running there: starting"),
        ({"running_db_nodes": ALL[1:]}, "its Mnesia does not see n1"),
        ({"tables": {}}, "does not know table kv"),
        ({"tables": table(where_to_read=Atom("nowhere"))}, "table kv is not loaded"),
        ({"tables": table(where_to_write=ALL[1:])}, "does not write table kv to n1"),
    ],
)
def test_what_is_not_whole_is_named(change: dict[str, Term] | None, cause: str) -> None:
    assert ("n2", cause) in list(unsteady(three_nodes(), views(n2=change)))


def test_a_whole_cluster_has_nothing_to_name() -> None:
    assert not list(unsteady(three_nodes(), views()))
    assert not list(unsteady(three_nodes(mnesia=False, tables=[]), views(n1={"mnesia": Atom("no")})))


def test_an_answer_of_another_shape_is_an_error_of_that_node() -> None:
    for answer in (Atom("what"), {}, {Atom("node"): Atom("n1@n1")}, [1]):
        with pytest.raises(HarnessError, match="n1: read views"):
            ask_view(ScriptedNode("n1", {"harness_probe:views": answer}), Names(three_nodes()), 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ((Atom("nodeup"), ALL[1]), Observation(9, "n1", "nodeup", "n2")),
        (
            (Atom("nodedown"), ALL[1], Atom("net_tick_timeout")),
            Observation(9, "n1", "nodedown", "n2", {"reason": "net_tick_timeout"}),
        ),
        (
            (Atom("nodedown"), Atom("x@y"), (Atom("a"), 1)),
            Observation(9, "n1", "nodedown", "x@y", {"reason": {"$tuple": [":a", 1]}}),
        ),
        (
            (Atom("inconsistent_database"), Atom("running_partitioned_network"), ALL[2]),
            Observation(9, "n1", "inconsistent_database", "n3", {"context": "running_partitioned_network"}),
        ),
        (
            (Atom("mnesia_overload"), (Atom("dump_log"), Atom("time_threshold"))),
            Observation(9, "n1", "mnesia_overload", "", {"details": {"$tuple": [":dump_log", ":time_threshold"]}}),
        ),
        ((Atom("mnesia_started"),), Observation(9, "n1", "mnesia_started")),
        ((Atom("mnesia_error"), b"it hurts"), Observation(9, "n1", "mnesia_error", "", {"text": "it hurts"})),
        ((Atom("of_tomorrow"), 1), Observation(9, "n1", "of_tomorrow", "", {"term": [1]})),
        ((Atom("nodeup"), Atom("harness-ctl@harness")), None),
    ],
)  # fmt: skip
def test_events_become_observations(event: Term, expected: Observation | None) -> None:
    assert observation("n1", 9, event, Names(three_nodes())) == expected
