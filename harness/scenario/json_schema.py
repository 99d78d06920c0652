"""The scenario format as JSON Schema (draft 2020-12), for editors: it accepts what the loader accepts.

What only the whole file can tell (a node nobody declared, a fault after the end) stays with ``harness validate``; the
tags ``!tuple``, ``!charlist`` and ``!binary`` are YAML's and invisible here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from harness.scenario.actions import ACTIONS
from harness.scenario.expectations import CHECKS, LOWER, PHASED, PHASES, SAFETY, Unit
from harness.scenario.schema import Scenario

_SUBSTITUTED = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}  # ${NAME}: what it becomes is known at load
_SUFFIX = {"10s": "s", "400/s": "/s", "100B": "B"}  # first example of a unit -> how its defaults are written
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def json_schema() -> dict[str, Any]:
    """The schema of a whole scenario file."""
    schema = _tidy(Scenario.model_json_schema(by_alias=True))
    definitions: dict[str, Any] = schema["$defs"]
    _one_of(definitions["Step"], (*ACTIONS, "sequence", "parallel"))
    _one_of(definitions["Operation"], ("rpc", "write", "read", "update"))
    _one_of(definitions["Load"], ("operations", "locustfile"))
    until = definitions["Step"]["properties"]["until"]
    until["anyOf"].insert(0, {"type": "string", "description": "short for {event: ...}"})
    definitions["ExpectedRpc"] = _expected_rpc(definitions["RpcCall"])
    schema["properties"]["expect"] = _expect()
    schema["properties"]["expect_failure"]["items"] = {"enum": list(CHECKS)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "harness scenario"}


def _one_of(definition: dict[str, Any], keys: tuple[str, ...]) -> None:
    definition["oneOf"] = [{"required": [key]} for key in keys]


def _tidy(value: Any, *, names: bool = False) -> Any:
    """Titles that only repeat a key go; numbers and booleans may be ``${NAME}``; defaults carry their unit.

    ``names``: the keys of this map are somebody's names (properties, definitions) and no words of JSON Schema.
    """
    if isinstance(value, list):
        return [_tidy(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if names:
        return {key: _tidy(entry) for key, entry in value.items()}
    kept = {
        _LIMITS.get(key, key): entry if key == "default" else _tidy(entry, names=key in ("properties", "$defs"))
        for key, entry in value.items()
        if key != "title"
    }
    suffix = _SUFFIX.get(str(next(iter(kept.get("examples", ())), "")))
    if suffix and isinstance(kept.get("default"), int | float):
        kept["default"] = f"{Decimal(repr(kept['default'])).normalize():f}{suffix}"
    if isinstance(kept.get("default"), dict | list) or kept.get("default", "") is None:
        del kept["default"]
    if kept.get("type") in ("integer", "number", "boolean"):
        told = {key: kept.pop(key) for key in ("description", "default", "examples") if key in kept}
        return {"anyOf": [kept, {"type": "string", "pattern": r"^[-+]?\d+$|^(true|false)$"}, _SUBSTITUTED], **told}
    if "pattern" in kept and kept.get("examples"):
        kept["pattern"] = f"{kept['pattern']}|{_SUBSTITUTED['pattern']}"
    if "anyOf" in kept and kept.get("examples"):
        kept["anyOf"] = [*kept["anyOf"], _SUBSTITUTED]
    return kept


def _expected_rpc(call: dict[str, Any]) -> dict[str, Any]:
    nodes = {"type": "array", "items": {"type": "string"}}
    more = {"returns": {"default": True}, "on": {"anyOf": [{"enum": ["all", "any"]}, nodes], "default": "all"}}
    return {**call, "properties": {**call["properties"], **more}}


def _expect() -> dict[str, Any]:
    properties = {check: _expectation(check, unit, says) for check, (unit, says) in CHECKS.items()}
    properties["rpc"] = {
        "type": "array",
        "items": {"$ref": "#/$defs/ExpectedRpc"},
        "description": CHECKS["rpc"][1],
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _expectation(check: str, unit: Unit, says: str) -> dict[str, Any]:
    written: dict[Unit, list[dict[str, Any]]] = {
        "duration": [{"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*(us|ms|min|s|m|h)\s*)+$"}, {"const": 0}],
        "ratio": [
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%?\s*$"},
        ],
        "count": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*$"}],
        "yes": [],
    }
    if check in SAFETY:
        written["count"] = [{"const": 0}, {"type": "string", "pattern": r"^\s*0+(\.0+)?\s*$"}]
    keys = () if unit == "yes" else ("limit", "min") if unit != "count" else ("min",) if check in LOWER else ("limit",)
    limits = {key: {"anyOf": [*written[unit], _SUBSTITUTED]} for key in keys}
    phase = {"phase": {"enum": list(PHASES)}} if check in PHASED else {}
    long_form = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **limits,
            **phase,
            "severity": {"enum": ["fail", "warn"]},
            "off": {"type": "boolean"},
        },
    }
    short = [] if check in LOWER else written[unit]
    off = [{"const": "off"}, {"const": False}, _SUBSTITUTED]
    return {"anyOf": [*short, *off, long_form], "description": says}
