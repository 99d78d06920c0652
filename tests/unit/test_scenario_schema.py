"""The JSON Schema says what the loader does, and docs/scenario.md names every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from harness.errors import ScenarioError
from harness.scenario import schema as models
from harness.scenario.document import read_document
from harness.scenario.expectations import CHECKS
from harness.scenario.load import load_scenario, shipped_scenarios
from harness.scenario.render import json_schema

SCHEMA = json_schema()
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs" / "scenario.md"


def accepts(schema: Any, value: Any) -> bool:
    """The part of JSON Schema that ours uses."""
    if schema is True or schema == {}:
        return True
    if "$ref" in schema and not accepts(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], value):
        return False
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        fits = [isinstance(value, TYPES[k]) and (not isinstance(value, bool) or k == "boolean") for k in kinds]
        if not any(fits):
            return False
    if "const" in schema and (value != schema["const"] or isinstance(value, bool) != isinstance(schema["const"], bool)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "anyOf" in schema and not any(accepts(option, value) for option in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(accepts(option, value) for option in schema["oneOf"]) != 1:
        return False
    if isinstance(value, str):
        return "pattern" not in schema or re.search(schema["pattern"], value) is not None
    if isinstance(value, int | float):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(accepts(schema.get("items", {}), v) for v in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if not set(schema.get("required", ())) <= set(value):
            return False
        more = schema.get("additionalProperties", {})
        return all(
            accepts(known[k], v) if k in known else more is not False and accepts(more, v) for k, v in value.items()
        )
    return True


def data(text: str) -> Any:
    """The values of a scenario file, ``${NAME}`` left in."""
    document = read_document(text, "x", {})
    return document.data


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_it_accepts_the_shipped_scenarios(name: str) -> None:
    assert accepts(SCHEMA, data(shipped_scenarios()[name].read_text()))


BASE = """name: x
cluster: {%s}
load: {operations: [{rpc: {module: m, function: f}}], %s}
timeline: [%s]
duration: 60s
"""


@pytest.mark.parametrize(
    ("cluster", "load", "timeline", "good"),
    [
        ("", "", "", True),
        ("nodes: [a, b]", "rate: 30/m", "{at: 1m30s, until: detected, pause: {nodes: [a]}}", True),
        ("nodes: {a: {image: {otp: 25}}, b: {memory: 1GiB}}", "users: '5', ramp: 0", "", True),
        ("environment: {A: 1, B: true, C: x}, mnesia: {tables: {t: {ram_copies: all}}}", "", "", True),
        ("image: my/app:1, command: [a, b]", "", "{at: 1s, sequence: [{recover: {}}, {at: 1s, recover: {}}]}", True),
        ("nodez: 3", "", "", False),
        ("", "rate: 400", "", False),
        ("", "timeout: 5", "", False),
        ("", "users: 0", "", False),
        ("", "workers: true", "", False),
        ("", "", "{at: 1s}", False),
        ("", "", "{at: 1s, recover: {}, rpc: {module: m, function: f}}", False),
        ("", "", "{at: 1s, partition: {groups: [[a]]}}", False),
        ("kernel: {net_ticktime: many}", "", "", False),
    ],
)
def test_it_refuses_what_the_loader_refuses(cluster: str, load: str, timeline: str, good: bool) -> None:
    text = BASE % (cluster, load, timeline)
    assert accepts(SCHEMA, data(text)) is good
    if good:
        return
    with pytest.raises(ScenarioError):
        load_scenario(text, {})


@pytest.mark.parametrize(
    ("expect", "good"),
    [
        ("detection: 10s", True), ("availability: {min: 99%}", True), ("dirty_bypass: off", True),
        ("latency: {limit: 50ms, phase: after, severity: warn}", True), ("acked_lost: 0", True),
        ("rpc: [{module: m, function: f, returns: ':ok', on: any}]", True),
        ("detction: 10s", False), ("detection: 10", False), ("availability: 99%", False),
        ("recovery: {limit: 3s, phase: after}", False), ("acked_lost: 1", False), ("dual_majority: {limit: 2}", False),
        ("enough_samples: {limit: 5}", False), ("phantom: {min: 5}", False), ("replica_divergence: {min: 0}", False),
        ("replica_divergence: {severity: warn}", True), ("generator: {severity: warn}", True), ("phantom: 5", True),
        ("dual_majority: {limit: 0}", True), ("enough_samples: {min: 5}", True),
        ("availability: {min: 90%, phase: healing}", True), ("latency: {limt: 3s}", False), ("mesh_complete: 3", False),
    ],
)  # fmt: skip
def test_expectations(expect: str, good: bool) -> None:
    text = BASE % ("", "", "") + f"expect: {{{expect}}}\n"
    assert accepts(SCHEMA, data(text)) is good
    if good:
        load_scenario(text, {})
    else:
        with pytest.raises(ScenarioError):
            load_scenario(text, {})


# --- docs/scenario.md ---

SECTIONS: dict[str, type[BaseModel]] = {
    "Scenario": models.Scenario, "cluster": models.Cluster, "cluster.nodes.NAME": models.NodeOptions,
    "cluster.image": models.OtpImage, "cluster.kernel": models.Kernel, "cluster.health": models.Health,
    "cluster.mnesia": models.Mnesia, "cluster.mnesia.tables.NAME": models.Table, "load": models.Load,
    "load.operations": models.Operation, "write, read": models.TableOperation, "update": models.UpdateOperation,
    "rpc": models.RpcCall, "timeline": models.Step, "until": models.Until, "partition": models.Partition,
    "kill": models.Kill, "pause": models.Pause, "recover": models.Recover, "rpc (as a step)": models.Rpc,
    "expect.rpc": models.ExpectedRpc, "expect (long form)": models.Limit,
}  # fmt: skip


def rows(title: str) -> dict[str, list[str]]:
    """Key -> (type, default, meaning, example) of the table under a heading of the page."""
    page = PAGE.read_text()
    section = re.search(rf"^#+ `?{re.escape(title)}`?\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    assert section, f"docs/scenario.md has no section {title}"
    found: dict[str, list[str]] = {}
    for line in section[1].splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def default_of(field: Any) -> str:
    """How the page writes a default."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    assert value is not PydanticUndefined
    if value is None or value in ("", (), {}) or isinstance(value, BaseModel) or type(value).__name__ == "SecretStr":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def fields() -> Iterator[tuple[str, str, Any]]:
    for title, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            yield title, field.alias or name, field


@pytest.mark.parametrize(("title", "key", "field"), list(fields()))
def test_the_page_has_every_key_with_its_default(title: str, key: str, field: Any) -> None:
    table = rows(title)
    assert key in table, f"docs/scenario.md: {title} does not list {key}"
    _, written, meaning, example = table[key]
    assert meaning
    assert example.startswith("`")
    expected = default_of(field)
    plain = written.strip("`")
    units = {"536870912": "512MiB", "100": "100B"} if key in ("memory", "value_size") else {}
    assert plain in (expected, units.get(expected, expected), f"{expected}s")


@pytest.mark.parametrize("title", list(SECTIONS))
def test_the_page_has_no_key_too_many(title: str) -> None:
    assert set(rows(title)) == {f.alias or n for n, f in SECTIONS[title].model_fields.items()}


def test_the_page_lists_every_check() -> None:
    page = PAGE.read_text()
    assert [name for name in CHECKS if f"| `{name}` |" not in page] == []


def test_the_examples_of_the_page_load() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    whole = [block for block in blocks if block.lstrip("# \n").startswith("name:")]
    assert whole
    for block in whole:
        load_scenario(block, {})
