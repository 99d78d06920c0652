"""Secrets reach the cluster and no artefact, no printed plan and no message."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.history import Mark
from harness.scenario.load import load_scenario
from harness.scenario.plan import Plan, make_plan
from harness.scenario.render import render_plan, resolved_yaml
from harness.scenario.schema import Scenario
from harness.scenario.secrets import MASK, looks_secret, masked
from harness.store import RunDir

TEXT = """name: p
cluster:
  nodes: [shop]
  node_name: "shop@{host}"
  cookie: "${HARNESS_COOKIE}"
  command: "erl -setcookie ${HARNESS_COOKIE}"
  environment: {ERL_FLAGS: "-setcookie ${HARNESS_COOKIE}", DB_PASSWORD: geheim, TOOL_COOKIE: "{cookie}", PORT: 80}
  image: my/app:1
  health: {module: m, function: f, args: ["${API_TOKEN}"], returns: true}
setup: [{module: m, function: f, args: ["${HARNESS_COOKIE}", !tuple [":a", !binary "${API_TOKEN}"]]}]
load:
  operations: [{rpc: {module: m, function: f, args: ["x${API_TOKEN}y"]}}]
duration: 5s
expect: {rpc: [{module: m, function: f, returns: "${SSH_KEY:-}", on: all}]}
"""
ENVIRON = {"HARNESS_COOKIE": "topsecret", "API_TOKEN": "topsecreter", "SSH_KEY": "topsecret3"}


@pytest.fixture
def scenario() -> Scenario:
    return load_scenario(TEXT, ENVIRON)


def test_the_run_has_the_values_and_the_artefacts_have_not(scenario: Scenario, tmp_path: Path) -> None:
    plan = make_plan(scenario)
    assert plan.nodes[0].command == "erl -setcookie topsecret"
    assert plan.setup[0].args[0] == "topsecret"
    run = RunDir.create(tmp_path, plan)
    run.journal(Mark(1, "phase", {"error": "topsecret was refused", "nodes": ["shop@n1"]}))
    run.write_json("summary.json", {"error": "no topsecret here"})
    run.write_text("scenario.resolved.yml", resolved_yaml(scenario))
    run.close()
    written = {path.name: path.read_text() for path in run.path.iterdir() if path.is_file()}
    assert all("topsecret" not in text and "geheim" not in text for text in written.values())
    assert all(MASK in written[name] for name in ("plan.json", "events.jsonl", "summary.json", "scenario.resolved.yml"))
    kept = run.plan()
    assert kept.nodes[0].environment["TOOL_COOKIE"] == "{cookie}"
    assert kept.setup[0].args == (MASK, {"$tuple": [":a", {"$binary": MASK}]})
    assert "topsecret" not in render_plan(plan) + repr(plan.model_dump(mode="json"))


def test_a_cookie_that_is_a_name_leaves_the_names(tmp_path: Path) -> None:
    plan = make_plan(load_scenario(TEXT, ENVIRON | {"HARNESS_COOKIE": "shop"}))
    kept = Plan.model_validate_json(plan.model_dump_json())
    assert (kept.nodes[0].name, kept.nodes[0].node_name) == ("shop", "shop@shop")
    assert kept.nodes[0].command == f"erl -setcookie {MASK}"


def test_a_mistake_does_not_quote_a_secret() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(TEXT.replace("duration: 5s", 'duration: "${API_TOKEN}"'), ENVIRON)
    assert MASK in caught.value.problems[0].message
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("name", ["HARNESS_COOKIE", "DB_PASSWORD", "API_TOKEN", "CLIENT_SECRET", "SSH_KEY", "apikey"])
def test_what_looks_secret(name: str) -> None:
    assert looks_secret(name)


def test_what_does_not() -> None:
    assert not any(map(looks_secret, ("MONKEY", "OTP", "KEYBOARD", "USERS")))
    assert masked({"args": ["a"], "name": "a"}, frozenset({""})) == {"args": ["a"], "name": "a"}
