"""Contradictions that ``harness validate`` finds without Docker."""

from __future__ import annotations

import pytest

from harness.checkers import CHECKS as CHECKERS
from harness.errors import ScenarioError
from harness.scenario.expectations import CHECKS, parse_expectation
from harness.scenario.load import load_scenario
from harness.scenario.schema import Limit

BASE = """name: base
cluster: {{{cluster}}}
load: {{operations: [{operations}]}}
timeline: [{timeline}]
duration: 60s
{more}
"""
TABLES = "nodes: 3, mnesia: {tables: {kv: {ram_copies: all}}}"
WRITE = "{write: {table: kv}}"


def problems(cluster: str = TABLES, operations: str = WRITE, timeline: str = "", more: str = "") -> list[str]:
    text = BASE.format(cluster=cluster, operations=operations, timeline=timeline, more=more)
    try:
        load_scenario(text, {})
    except ScenarioError as error:
        return [problem.message for problem in error.problems]
    return []


def test_the_base_is_valid() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("nodes: 0", "cluster.nodes: a cluster has 1 to 100 nodes, got 0"),
        ("nodes: 101", "cluster.nodes: a cluster has 1 to 100 nodes, got 101"),
        ("nodes: []", "cluster.nodes: a cluster has 1 to 100 nodes, got 0"),
        ("nodes: [a, b, a]", "node a is named twice"),
        ("nodes: [a, A]", "node A is named twice"),
        ("nodes: [harness]", "the name harness is the harness's own; call the node something else"),
        ("nodes: [a.b]", "'a.b' is no host name: a letter, then letters, digits, - or _; "
                         "a domain goes into cluster.domain"),
        ('node_name: "shop"', "node_name: an Erlang node is called name@host, like shop@{host}"),
        ('node_name: "shop@{hots}"', "node_name: {hots} means nothing here; there are {node} and {host}"),
        ('node_name: "shop@box"', "node_name: gives two nodes the same name; use {node} or {host} in it"),
        ('node_name: "{node}@box.lab"', "node_name: nodes find each other by what stands behind @; write @{host} "
                                        "there (long names come from cluster.domain)"),
        ('node_name: "{node}@{node}", domain: lab', "node_name: nodes find each other by what stands behind @; "
                                                    "write @{host} there"),
        ("domain: a b", "domain: 'a b' is no domain name"),
        ("mnesia: {tables: {kv: {}}}", "table kv has no copies; write ram_copies: all"),
        ("mnesia: {tables: {kv: {ram_copies: [n4]}}}", "no node is called 'n4'; there are n1, n2, n3"),
        ("mnesia: {tables: {kv: {ram_copies: [n1, n1]}}}", "node n1 is named twice"),
        ("mnesia: {tables: {kv: {ram_copies: all, disc_copies: [n2]}}}", "table kv: n2 already holds it as ram_copies"),
        ("mnesia: {tables: {kv: {ram_copies: all}, schema: {ram_copies: all}}}",
         "the table name schema is taken (schema and harness_... are)"),
        ("mnesia: {tables: {kv: {ram_copies: all}}, observe: [kv]}",
         "table kv is created by the harness (mnesia.tables), so it is observed anyway"),
    ],
)  # fmt: skip
def test_clusters(cluster: str, expected: str) -> None:
    assert expected in problems(cluster=cluster)


@pytest.mark.parametrize(
    ("cluster", "operations", "expected"),
    [
        (TABLES, "{write: {table: kvs}}", "table 'kvs' is not declared; did you mean kv?"),
        ("nodes: 3", WRITE, "table kv: this cluster has no Mnesia; declare it: cluster.mnesia.tables.kv"),
        ("mnesia: {observe: [orders]}", "{write: {table: orders}}",
         "table orders is only observed: it is the release's own, the harness never uses it"),
        (TABLES, "{write: {table: kv}, on: [n1, n5]}", "no node is called 'n5'; there are n1, n2, n3"),
        (TABLES, "{write: {table: kv}, name: a}, {read: {table: kv}, name: a}", "two operations are called 'a'"),
        (TABLES, "{rpc: {module: m, function: f, args: [{$tuple: 3}]}}",
         "load.operations.0.rpc.args: $tuple with int is no term"),
    ],
)  # fmt: skip
def test_load(cluster: str, operations: str, expected: str) -> None:
    assert expected in problems(cluster=cluster, operations=operations)


CUT = "partition: {groups: [[n1], [n2, n3]]}"


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        ("{at: 1s, for: 1s, partition: {groups: [[n1], [n4]]}}", "no node is called 'n4'; there are n1, n2, n3"),
        ("{at: 1s, for: 1s, partition: {groups: [[n1, n2], [n2]]}}", "node n2 is in two groups (1 and 2)"),
        ("{at: 1s, for: 1s, partition: {groups: [[n1, n1], [n2]]}}", "node n1 is named twice"),
        ("{at: 1s, for: 1s, partition: {groups: [[n1], []]}}", "a group without nodes cuts nothing"),
        ("{at: 1s, for: 1s, kill: {nodes: [n9]}}", "no node is called 'n9'; there are n1, n2, n3"),
        ("{at: 1s, recover: {mnesia: master_nodes, masters: [n9]}}", "no node is called 'n9'; there are n1, n2, n3"),
        (f"{{at: 60s, for: 1s, {CUT}}}", "partition-1 would begin at 60s, but the run lasts 60s"),
        (f"{{at: 50s, for: 11s, {CUT}}}", "partition-1 would end at 61s, but the run lasts 60s"),
        (f"{{at: 50s, for: 9s, spread: 2s, {CUT}}}", "partition-1 would end at 61s, but the run lasts 60s"),
        (f"{{at: 50s, every: 5s, times: 3, for: 1s, {CUT}}}", "partition-3 would begin at 60s, but the run lasts 60s"),
        ("{name: a, at: 55s, for: 4s, kill: {nodes: [n1]}}, {after: a, for: 3s, kill: {nodes: [n2]}}",
         "kill-1 would end at 62s, but the run lasts 60s"),
        ("{at: 1s, for: 9s, kill: {nodes: [n1]}}, {at: 5s, for: 1s, kill: {nodes: [n1, n2]}}",
         "kill of n1, which is killed at that time (kill-1: 1s to 10s)"),
        ("{at: 1s, kill: {nodes: [n1]}}, {at: 59s, for: 1s, kill: {nodes: [n1]}}",
         "kill of n1, which is killed at that time (kill-1: 1s to 60s)"),
        ("{at: 5s, for: 1s, pause: {nodes: [n1]}}, {at: 1s, for: 9s, kill: {nodes: [n1]}}",
         "pause of n1, which is killed at that time (kill-1: 1s to 10s)"),
        ("{at: 1s, for: 9s, pause: {nodes: [n1]}}, {at: 5s, for: 1s, kill: {nodes: [n1]}}",
         "kill of n1, which is paused at that time (pause-1: 1s to 10s)"),
        ("{at: 1s, every: 2s, for: 3s, times: 4, kill: {nodes: [n1]}}",
         "kill of n1, which is killed at that time (kill-1: 1s to 4s)"),
        (f"{{at: 1s, for: 9s, {CUT}}}, {{at: 5s, for: 1s, partition: {{groups: [[n1], [n2]]}}}}",
         "partition: partition-1 has already cut all of this (partition-1: 1s to 10s)"),
        (f"{{name: a, at: 1s, for: 1s, {CUT}}}, {{name: a, at: 3s, for: 1s, {CUT}}}", "two steps are called 'a'"),
        (f"{{name: a b, at: 1s, for: 1s, {CUT}}}",
         "step name 'a b': use letters, digits, dash, underscore, dot"),
        (f"{{name: a, after: b, for: 1s, {CUT}}}, {{name: b, after: a, for: 1s, {CUT}}}",
         "steps wait for each other in a circle: a after b after a"),
        (f"{{name: a, after: a, for: 1s, {CUT}}}", "steps wait for each other in a circle: a after a"),
        (f"{{after: x, for: 1s, {CUT}}}", "no step is called 'x'"),
        (f"{{for: 1s, {CUT}}}", "a step needs at: (seconds from full load) or after: (a step's name)"),
        (f"{{name: b, at: 1s, for: 1s, {CUT}}}, {{at: 1s, after: b, for: 1s, {CUT}}}",
         "at and after exclude one another; pauses go into a sequence"),
        (f"{{at: 1s, for: 1s, until: detected, {CUT}}}", "for and until exclude one another"),
        ("{at: 1s, for: 1s, recover: {}}", "for: recover acts once and does not last"),
        ("{at: 1s, until: detected, rpc: {module: m, function: f}}", "until: rpc acts once and does not last"),
        (f"{{at: 1s, for: 1s, times: 2, {CUT}}}", "times needs every:"),
        (f"{{at: 1s, for: 1s, every: 0s, times: 2, {CUT}}}", "every: must be more than 0s"),
        (f"{{name: a, at: 1s, for: 1s, {CUT}}}, {{after: a, every: 2s, for: 1s, {CUT}}}",
         "every: after another step needs times: as well"),
        (f"{{at: 1s, every: 1us, for: 0.1us, {CUT}}}", "more than 10000 occurrences in one run"),
        (f"{{at: 1s, for: 0s, {CUT}}}", "a partition of 0s does nothing"),
        ("{at: 1s, for: 2s, sequence: [{recover: {}}]}", "for: goes to the steps inside, not around them"),
        (f"{{at: 1s, until: detcted, {CUT}}}", "until: nothing is observed as 'detcted'; did you mean detected?"),
        ("{at: 1s, sequence: []}", "sequence: holds no steps"),
        (f"{{at: 1s, until: {{event: nodedown, node: n8}}, {CUT}}}", "no node is called 'n8'; there are n1, n2, n3"),
    ],
)  # fmt: skip
def test_timelines(timeline: str, expected: str) -> None:
    assert expected in problems(timeline=timeline)


@pytest.mark.parametrize(
    "timeline",
    [
        "{at: 1s, for: 9s, kill: {nodes: [n1]}}, {at: 10s, for: 1s, kill: {nodes: [n1]}}",
        f"{{at: 1s, for: 9s, {CUT}}}, {{at: 5s, for: 9s, partition: {{groups: [[n2], [n3]]}}}}",
        f"{{at: 1s, for: 9s, {CUT}}}, {{at: 5s, for: 1s, kill: {{nodes: [n1]}}}}",
        f"{{name: a, at: 1s, until: detected, {CUT}}}, {{after: a, recover: {{}}}}",
        f"{{at: 50s, for: 10s, {CUT}}}",
        "{after: a, recover: {}}, {name: a, at: 1s, for: 1s, kill: {nodes: [n2]}}",
        "{at: 1s, for: 0s, kill: {nodes: [n1]}}",
    ],
)
def test_what_is_allowed(timeline: str) -> None:
    assert problems(timeline=timeline) == []


def test_recover_without_mnesia() -> None:
    assert "recover needs Mnesia; declare cluster.mnesia" in problems(
        "nodes: 3", "{rpc: {module: m, function: f}}", "{at: 1s, recover: {}}"
    )


# --- expectations ---


@pytest.mark.parametrize(
    ("check", "written", "limit"),
    [
        ("detection", "10s", Limit(limit=10)),
        ("acked_lost", 0, Limit(limit=0)),
        ("availability", {"min": "99%"}, Limit(min=0.99)),
        ("availability", {"min": 0.5, "phase": "after"}, Limit(min=0.5, phase="after")),
        ("dirty_bypass", "off", Limit(off=True)),
        ("dirty_bypass", False, Limit(off=True)),
        ("latency", {"limit": "50ms", "phase": "after", "severity": "warn"},
         Limit(limit=0.05, phase="after", severity="warn")),
        ("mesh_complete", {"severity": "warn"}, Limit(severity="warn")),
        ("enough_samples", {"min": 100}, Limit(min=100)),
    ],
)  # fmt: skip
def test_expectations_are_read(check: str, written: object, limit: Limit) -> None:
    assert parse_expectation(check, written) == limit


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("acked_los: 0", "no check is called 'acked_los'; did you mean acked_lost?"),
        ("detection: 10", "detection: a duration needs a unit: 10s?"),
        ("acked_lost: 10s", "acked_lost is a count, like 0; not '10s'"),
        ("acked_lost: true", "acked_lost is a count, like 0; not True"),
        ("availability: 99%", "availability needs a lower limit: {min: 99%}"),
        ("availability: {min: 120%}", "availability is a ratio, like 99%; not '120%'"),
        ("mesh_complete: 3", "mesh_complete holds or does not; write off, or {severity: warn}"),
        ("latency: {limit: 1s, fase: after}", "unknown key 'fase'; did you mean phase?"),
        ("latency: {limit: 1s, phase: afer}", "no phase is called 'afer'; did you mean after?"),
        ("latency: {limit: 1s, severity: bad}", "severity is fail or warn, not 'bad'"),
        (
            "recovery: {limit: 1s, phase: after}",
            "recovery is not told per phase; phase goes with availability, lag, latency",
        ),
        ("acked_lost: 5", "acked_lost is always held against 0; write off, or {severity: warn}"),
        ("enough_samples: {limit: 5}", "enough_samples takes no limit; write enough_samples: {min: 100}"),
        ("phantom: {min: 5}", "phantom takes no min; write phantom: 0"),
        ("latency: {phase: after}", "an expectation needs a limit: latency: 10s"),
        ("latency: {limit: 1s, min: 2s}", "min 2s is above limit 1s"),
        ("rpc: 3", "expect.rpc: expected a list of calls like [{module: shop, function: invariant}]"),
        ("rpc: [{module: m, function: f, on: [n7]}]", "no node is called 'n7'; there are n1, n2, n3"),
        ("rpc: [{modul: m, function: f}]", "unknown key 'modul' in expect.rpc.0; did you mean module?"),
    ],
)
def test_expectations_that_cannot_be_meant(written: str, expected: str) -> None:
    assert expected in problems(more=f"expect: {{{written}}}")


def test_expect_failure_names_checks() -> None:
    assert problems(more="expect_failure: [acked_lost]") == []
    assert problems(more="expect_failure: [loss]")[0].startswith("no check is called 'loss'")


def test_every_checker_can_be_expected() -> None:
    assert set(CHECKERS) == set(CHECKS)
