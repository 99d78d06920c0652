"""Scenario + seed -> Plan, and the plan as text."""

from __future__ import annotations

import json

import pytest

from harness.errors import ScenarioError
from harness.scenario.actions import Partition, Rpc
from harness.scenario.load import load_scenario, shipped_scenarios
from harness.scenario.plan import Plan, make_plan
from harness.scenario.render import render_plan, resolved_yaml
from harness.scenario.secrets import MASK

CUT = "partition: {groups: [[n1], [n2, n3]]}"


def planned(timeline: str = "", cluster: str = "", more: str = "", seed: int | None = None) -> Plan:
    text = f"""name: p
cluster: {{mnesia: {{tables: {{kv: {{ram_copies: all}}}}}}, {cluster}}}
load: {{operations: [{{write: {{table: kv}}}}]}}
timeline: [{timeline}]
duration: 60s
{more}
"""
    return make_plan(load_scenario(text, {}), seed=seed)


def times(plan: Plan) -> list[tuple[str, float | str, float, float | None]]:
    """(id, absolute start or the step it comes after, delay, duration)."""
    return [(s.id, s.after if s.after is not None else s.at or 0.0, s.delay, s.lasts) for s in plan.timeline]


# --- nodes ---


def test_tls_is_planned_and_told() -> None:
    assert planned(cluster="nodes: 2, tls: true").tls
    assert not planned(cluster="nodes: 2").tls
    told = "distribution over TLS"
    assert told in render_plan(planned(cluster="nodes: 2, tls: true"))
    assert told not in render_plan(planned(cluster="nodes: 2"))


def test_nodes_are_named_and_inherit() -> None:
    plan = planned(
        cluster="nodes: {a: {image: {otp: 25}, memory: 1GiB}, b: {image: 'my/app:1', environment: {X: 2}}, c: {}}, "
        "domain: .lab, node_name: 'shop@{host}', environment: {X: 1, HOST: '{host}', ON: true}"
    )
    a, b, c = plan.nodes
    assert [n.node_name for n in plan.nodes] == ["shop@a.lab", "shop@b.lab", "shop@c.lab"]
    assert (a.otp, a.image, a.memory) == (25, "", 2**30)
    assert (b.otp, b.image, b.environment) == (None, "my/app:1", {"X": "2", "HOST": "{host}", "ON": "true"})
    assert (c.otp, c.host, c.memory) == (27, "c.lab", 512 * 2**20)
    assert plan.node("c") is c
    assert plan.table("kv").copies == dict.fromkeys("abc", "ram_copies")


def test_a_number_of_nodes() -> None:
    assert [n.node_name for n in planned(cluster="nodes: 2").nodes] == ["n1@n1", "n2@n2"]


def test_secrets_are_not_in_plan_json() -> None:
    plan = planned(cluster="environment: {DB_PASSWORD: geheim, COOKIE: '{cookie}', PORT: 80}")
    assert plan.nodes[0].environment["DB_PASSWORD"] == "geheim"
    kept = json.loads(plan.model_dump_json())["nodes"][0]["environment"]
    assert kept == {"DB_PASSWORD": MASK, "COOKIE": "{cookie}", "PORT": "80"}


def test_operations_have_unique_names() -> None:
    plan = make_plan(
        load_scenario(
            """name: p
cluster: {mnesia: {tables: {kv: {ram_copies: all}}}}
load:
  operations:
    - {read: {table: kv}}
    - {read: {table: kv}, on: [n2]}
    - {update: {table: kv, keys: 5}, name: u}
    - {rpc: {module: Shop.Orders, function: f}}
duration: 5s
""",
            {},
        )
    )
    assert [o.name for o in plan.load.operations] == [
        "read kv transaction", "read kv transaction #2", "u", "rpc Shop.Orders:f"
    ]  # fmt: skip
    assert [o.on for o in plan.load.operations] == [("n1", "n2", "n3"), ("n2",), *[("n1", "n2", "n3")] * 2]
    assert plan.load.operations[2].keys == 5
    call = plan.load.operations[3].call
    assert call is not None
    assert call.module == "Elixir.Shop.Orders"


# --- timeline ---


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        (f"{{at: 10s, for: 20s, {CUT}}}, {{at: 32s, recover: {{}}}}",
         [("partition-1", 10, 0, 20), ("recover-1", 32, 0, None)]),
        (f"{{at: 32s, recover: {{}}}}, {{at: 10s, for: 20s, {CUT}}}",
         [("partition-1", 10, 0, 20), ("recover-1", 32, 0, None)]),
        (f"{{name: cut, at: 10s, for: 2s, {CUT}}}, {{after: cut, recover: {{}}}}",
         [("cut", 10, 0, 2), ("recover-1", "cut", 0, None)]),
        (f"{{after: cut, recover: {{}}}}, {{name: cut, at: 10s, until: detected, {CUT}}}",
         [("cut", 10, 0, None), ("recover-1", "cut", 0, None)]),
        ("{name: k, at: 1s, every: 10s, times: 3, for: 2s, kill: {nodes: [n1]}}",
         [("k-1", 1, 0, 2), ("k-2", 11, 0, 2), ("k-3", 21, 0, 2)]),
        ("{at: 40s, every: 10s, for: 10s, kill: {nodes: [n1]}}",
         [("kill-1", 40, 0, 10), ("kill-2", 50, 0, 10)]),
        ("{at: 40s, every: 15s, for: 11s, pause: {nodes: [n1]}}",
         [("pause-1", 40, 0, 11)]),
        ("{at: 40s, every: 10s, rpc: {module: m, function: f}}",
         [("rpc-1", 40, 0, None), ("rpc-2", 50, 0, None)]),
        ("{at: 5s, sequence: [{for: 1s, kill: {nodes: [n1]}}, {at: 2s, for: 1s, kill: {nodes: [n2]}}, {recover: {}}]}",
         [("kill-1", 5, 0, 1), ("kill-2", "kill-1", 2, 1), ("recover-1", "kill-2", 0, None)]),
        ("{at: 5s, parallel: [{for: 1s, kill: {nodes: [n1]}}, {at: 2s, for: 3s, pause: {nodes: [n2]}}], name: both}, "
         "{after: both, recover: {}}",
         [("kill-1", 5, 0, 1), ("pause-1", 7, 0, 3), ("recover-1", "pause-1", 0, None)]),
        ("{at: 0s, every: 10s, times: 2, name: roll, "
         "sequence: [{for: 1s, kill: {nodes: [n1]}}, {for: 1s, kill: {nodes: [n2]}}]}",
         [("kill-1", 0, 0, 1), ("kill-2", "kill-1", 0, 1), ("kill-3", 10, 0, 1), ("kill-4", "kill-3", 0, 1)]),
        ("{name: kill-1, at: 9s, for: 1s, kill: {nodes: [n1]}}, {at: 1s, for: 1s, kill: {nodes: [n1]}}",
         [("kill-2", 1, 0, 1), ("kill-1", 9, 0, 1)]),
    ],
)  # fmt: skip
def test_steps_are_placed(timeline: str, expected: list[tuple[object, ...]]) -> None:
    assert times(planned(timeline)) == expected


def test_spread_is_drawn_from_the_seed() -> None:
    timeline = "{at: 1s, every: 10s, times: 5, spread: 4s, for: 1s, kill: {nodes: [n1]}}"
    first = [step.at for step in planned(timeline, seed=1).timeline]
    assert first == [step.at for step in planned(timeline, seed=1).timeline]
    assert first != [step.at for step in planned(timeline, seed=2).timeline]
    assert all(1 + 10 * k <= (at or 0) <= 5 + 10 * k for k, at in enumerate(first))


def test_a_step_elsewhere_shifts_nothing_here() -> None:
    one = "{at: 1s, spread: 4s, for: 1s, kill: {nodes: [n1]}}"
    other = "{at: 20s, spread: 9s, for: 1s, pause: {nodes: [n2]}}"
    assert planned(f"{one}, {other}").timeline[0] == planned(one).timeline[0]


def test_expectations_and_answers() -> None:
    plan = planned(
        more="""expect:
  detection: 10s
  latency: {limit: 50ms, phase: after, severity: warn}
  rpc: [{module: Shop, function: ok, args: [":a", !tuple [1]], returns: ":ok", on: any, timeout: 2s}]
setup: [{module: Shop.Seed, function: run}]
expect_failure: [acked_lost]
"""
    )
    assert [(e.check, e.limit.limit, e.text) for e in plan.expectations] == [
        ("detection", 10.0, "10s"),
        ("latency", 0.05, "{limit: 50ms, phase: after, severity: warn}"),
    ]
    (answer,) = plan.expected_answers
    assert (answer.call.module, answer.call.args, answer.call.timeout) == ("Elixir.Shop", (":a", {"$tuple": [1]}), 2.0)
    assert (answer.returns, answer.on, plan.setup[0].module) == (":ok", "any", "Elixir.Shop.Seed")
    assert plan.expect_failure == ("acked_lost",)


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_a_plan_survives_its_file(name: str) -> None:
    plan = make_plan(load_scenario(shipped_scenarios()[name], {}), source=name)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_actions_survive_the_file() -> None:
    plan = planned(
        f"{{at: 1s, until: {{event: nodedown, node: n2, timeout: 9s}}, {CUT}}}, "
        "{at: 2s, rpc: {module: m, function: f, args: [1, {a: !charlist hi}], timeout: 3s, on: [n1]}}"
    )
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert isinstance(again.timeline[0].action, Partition)
    assert isinstance(again.timeline[1].action, Rpc)
    assert again.timeline[1].action.timeout == 3.0


# --- text ---


def test_the_partition_plan_as_text() -> None:
    text = render_plan(make_plan(load_scenario(shipped_scenarios()["partition.yml"], {})))
    assert "partition-1  ········████████████████························  10s to 30s" in text
    assert "cut n1 | n2 n3 (2 islands)" in text
    assert "recover Mnesia: restart <minority of the cut>" in text
    assert "a silent cut is noticed after 6s to 10s" in text
    assert "SIGKILL n2, then start" in text


def test_what_only_the_run_knows_is_symbolic() -> None:
    text = render_plan(
        planned(f"{{name: cut, at: 5s, until: detected, {CUT}}}, {{after: cut, recover: {{mnesia: master_nodes}}}}, "
                "{at: 30s, pause: {nodes: [n1]}}")
    )  # fmt: skip
    assert "5s, until detected (at most 120s)" in text
    assert "after cut" in text
    assert "masters <majority of the cut>" in text
    assert "30s, until load ends" in text


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_a_resolved_scenario_is_the_same_scenario(name: str) -> None:
    scenario = load_scenario(shipped_scenarios()[name], {})
    assert load_scenario(resolved_yaml(scenario), {}) == scenario


def test_a_resolved_scenario_keeps_terms_and_hides_secrets() -> None:
    text = """name: p
cluster: {cookie: "${COOKIE}", environment: {API_TOKEN: geheim2, PORT: 80}}
load:
  operations:
    - {rpc: {module: m, function: f, args: [!tuple [":a", !charlist "x${A:-y}"], {1: a, b: {}, "\\x85": c}]}}
    - {rpc: {module: m, function: h, args: ["$${A}", !binary ":x"]}}
    - {rpc: {module: m, function: g, args: [{name: "", on: []}, "yes", "10", null, -1.5e300]}}
duration: 5s
"""
    scenario = load_scenario(text, {"COOKIE": "geheim1"})
    resolved = resolved_yaml(scenario)
    assert "geheim" not in resolved
    assert load_scenario(resolved, {}).load == scenario.load


def test_shipped_scenarios_assert_no_times() -> None:
    for path in shipped_scenarios().values():
        assert not load_scenario(path, {}).expect, path


def test_the_file_of_the_mistake_is_the_source() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario("name: 5", {})
    assert caught.value.problems[0].file == "<text>"
