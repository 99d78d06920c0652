"""Whatever stands in a file: a Scenario or a ScenarioError. Whatever is planned: the same again."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.etf import same_term
from harness.etf.terms import identity
from harness.scenario.document import read_document
from harness.scenario.groups import components, cut_pairs
from harness.scenario.load import load_scenario, shipped_scenarios
from harness.scenario.plan import Plan, make_plan
from harness.scenario.render import render_plan, resolved_yaml
from harness.scenario.schema import Scenario
from harness.scenario.seeded import Seeded
from harness.scenario.units import WRITTEN
from harness.scenario.values import from_term, to_term

TEXTS = [path.read_text() for path in shipped_scenarios().values() if "locustfile: " not in path.read_text()]
PIECES = st.sampled_from(
    ["\n", " ", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!tuple ", "!", "!!int ", "<<: *a",
     "|", ">", "'", '"', "#", "%", "@", "`", "?", "? ", "~", "null", "0", "-1", "1e999", "9" * 400, "10s", "400/s",
     "512MiB", "99999999h", "${X}", "${", "${X:-1}", "$${", "n1", "n9", "all", "off", "true", "kv", "at", "every: 1us",
     "times: 9999", "after: cut", "name: cut", "until: x", "\x00", "\ufeff", "\u2028", "\x85", "é", "---\n", "...\n",
     "%YAML 1.1\n---\n"]
)  # fmt: skip


def loaded(text: str, *overrides: str) -> Scenario | None:
    try:
        return load_scenario(text, {}, overrides)
    except ScenarioError as error:
        problems = error.problems
    assert problems
    assert all("\n" not in problem.message for problem in problems)
    return None


@settings(deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    loaded(text)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40))
def test_any_pieces(pieces: list[str]) -> None:
    loaded("".join(pieces))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_scenarios(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from([0, 0, 1, 3, 10]))
        text = text[:at] + data.draw(PIECES) + text[at + gone :]
    scenario = loaded(text)
    if scenario is not None:
        assert render_plan(make_plan(scenario))


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_override(path: str, value: str) -> None:
    loaded(TEXTS[0], f"{path}={value}")


@settings(deadline=None)
@given(st.sampled_from(["load.users", "timeline.0", "timeline.0.at", "cluster", "cluster.nodes", "expect", "name"]),
       st.lists(PIECES, max_size=6))  # fmt: skip
def test_any_value_in_an_override(path: str, pieces: list[str]) -> None:
    loaded(TEXTS[0], f"{path}={''.join(pieces)}")


# --- plans ---

NODES = ["n1", "n2", "n3"]
moments = st.integers(0, 30).map(lambda s: f"{s}s")
lengths = st.integers(1, 20_000).map(lambda ms: f"{ms}ms")


@st.composite
def steps(draw: st.DrawFn, depth: int = 1) -> dict[str, Any]:
    kind = draw(st.sampled_from(["partition", "kill", "pause", "recover", "rpc", *(["sequence", "parallel"] * depth)]))
    step: dict[str, Any] = {"at": draw(moments)}
    if draw(st.booleans()):
        step["spread"] = draw(lengths)
    if draw(st.booleans()):
        step |= {"every": draw(lengths), "times": draw(st.integers(1, 3))}
    if kind in ("sequence", "parallel"):
        return step | {kind: draw(st.lists(steps(depth=0), min_size=1, max_size=3))}
    if kind in ("partition", "kill", "pause"):
        step |= draw(st.sampled_from([{}, {"for": "2s"}, {"for": "0.1s"}, {"until": "detected"}]))
    actions: dict[str, Any] = {
        "partition": {"groups": [["n1"], draw(st.sampled_from([["n2"], ["n2", "n3"]]))]},
        "kill": {"nodes": [draw(st.sampled_from(NODES))]},
        "pause": {"nodes": [draw(st.sampled_from(NODES))]},
        "recover": {"mnesia": draw(st.sampled_from(["restart_minority", "master_nodes"]))},
        "rpc": {"module": "M", "function": "f", "args": draw(st.lists(values, max_size=2)), "timeout": draw(lengths)},
    }
    return step | {kind: actions[kind]}


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text().filter(lambda k: not k.startswith("$")), inner, max_size=3)
        | st.lists(inner, max_size=3).map(lambda held: {"$tuple": held})
        | st.text().map(lambda text: {"$charlist": text})
        | st.lists(
            st.tuples(inner, inner).map(list), max_size=2, unique_by=lambda pair: identity(to_term(pair[0]))
        ).map(lambda pairs: {"$map": pairs})
    ),
    max_leaves=6,
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "p",
            "seed": draw(st.integers()),
            "cluster": {"mnesia": {"tables": {"kv": {"ram_copies": "all"}}}},
            "load": {
                "operations": [{"rpc": {"module": "m", "function": "f", "args": draw(st.lists(values, max_size=3))}}]
            },
            "timeline": draw(st.lists(steps(), max_size=4)),
            "duration": "120s",
        },
        context=WRITTEN,
    )


@settings(deadline=None)
@given(scenarios())
def test_the_same_scenario_gives_the_same_plan_and_its_file_gives_it_back(scenario: Scenario) -> None:
    plan = make_plan(scenario)
    assert make_plan(scenario) == plan
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    ids = [step.id for step in plan.timeline]
    assert len(set(ids)) == len(ids)
    for number, step in enumerate(plan.timeline):
        assert (step.at is None) != (step.after is None)
        assert step.after is None or step.after in ids[:number]
    assert render_plan(plan)


@settings(deadline=None)
@given(scenarios())
def test_a_resolved_scenario_reads_back(scenario: Scenario) -> None:
    # steps drawn at random contradict each other; what is compared is the text, and that needs no timeline
    quiet = scenario.model_copy(update={"timeline": ()})
    assert load_scenario(resolved_yaml(quiet), {}) == quiet
    document = read_document(resolved_yaml(scenario), "x", {})
    assert Scenario.model_validate(document.data, context=WRITTEN) == scenario


@settings(deadline=None)
@given(values)
def test_terms_survive(value: Any) -> None:
    term = to_term(value)
    assert same_term(to_term(from_term(term)), term)


@settings(deadline=None)
@given(st.integers(), st.text())
def test_the_seeded_stream_repeats_and_stays_in_range(seed: int, label: str) -> None:
    one, two = Seeded(seed, label), Seeded(seed, label)
    drawn = [one.ratio() for _ in range(20)]
    assert drawn == [two.ratio() for _ in range(20)]
    assert all(0 <= ratio < 1 for ratio in drawn)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=4))
def test_cuts_are_symmetric_and_islands_hold_every_node_once(drawn: list[list[str]]) -> None:
    seen: set[str] = set()
    groups = []
    for group in drawn:
        groups.append([node for node in group if node not in seen])
        seen.update(group)
    pairs = cut_pairs(groups, "abcdef")
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b for a, b in pairs)
    assert sorted(node for island in components("abcdef", pairs) for node in island) == list("abcdef")
