"""Validation errors of the models -> mistakes at positions, in words for whoever wrote the file."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.scenario.document import Document, Path
from harness.scenario.expectations import suggest
from harness.scenario.schema import Scenario

# What a field takes that takes several shapes, and what a list is a list of.
_NODES = "a list of nodes like [n1, n2]"
_SHAPES = {
    "nodes": "a number of nodes, a list of names like [a, b] or a map like {n1: {image: {otp: 25}}, n2: {}}",
    "image": "{otp: 27}, or an image reference like myteam/app:1.2",
    "ram_copies": f"all, or {_NODES}",
    "disc_copies": f"all, or {_NODES}",
    "disc_only_copies": f"all, or {_NODES}",
    "on": f"all, or {_NODES}",
    "command": "a command line, or a list of its words",
    "groups": "a list of groups like [[n1], [n2, n3]]",
    "masters": _NODES,
    "args": 'a list of terms like [":hello", 1]',
    "observe": "a list of table names",
    "expect_failure": "a list of checks like [acked_lost]",
    "setup": "a list of calls like [{module: shop, function: warm_up}]",
    "operations": "a list of operations like [{write: {table: kv}}]",
    "timeline": "a list of steps like [{at: 10s, for: 5s, kill: {nodes: [n2]}}]",
    "sequence": "a list of steps",
    "parallel": "a list of steps",
    "until": "an event like detected, or {event: nodedown, node: n1}",
}
# What the map of this name looks like; under a list's name: each of its entries.
_MAPS = {
    "mnesia": "{tables: {kv: {ram_copies: all}}}",
    "tables": "{kv: {ram_copies: all}}",
    "operations": "{write: {table: kv}}",
    "rpc": "{module: lists, function: seq, args: [1, 10]}",
    "write": "{table: kv}",
    "read": "{table: kv}",
    "update": "{table: kv}",
    "timeline": "{at: 10s, for: 5s, kill: {nodes: [n2]}}",
    "partition": "{groups: [[n1], [n2, n3]]}",
    "kill": "{nodes: [n2]}",
    "pause": "{nodes: [n2]}",
    "recover": "{mnesia: restart_minority}",
    "expect": "{detection: 10s, recovery: 15s}",
}
_SIMPLE = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of sensible size",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}
_SECRET = frozenset({"cookie"})


@dataclass(frozen=True, slots=True)
class _Mistake:
    path: Path  # into the data; the last part may be a key that is not there
    union: Path | None  # where one of several shapes was tried
    kind: str
    error: dict[str, Any]


def explain(
    error: ValidationError, document: Document, base: Path = (), model: type[BaseModel] = Scenario
) -> list[tuple[Path, str]]:
    """Add one problem per mistake to the document; return where they are, with pydantic's name of their kind.

    ``base``: where in the document the data of ``model`` stands.
    """
    data = document.data
    for part in base:
        data = data[part]
    mistakes = [_located(dict(entry), data) for entry in error.errors(include_url=False)]
    unions = {m.union for m in mistakes if m.union is not None}
    taken = {u: any(m.union == u and len(m.path) > len(u) for m in mistakes) for u in unions}
    told: set[Path] = set()
    found: list[tuple[Path, str]] = []
    for mistake in mistakes:
        if mistake.kind == "too_short" and any(m.path[:-1] == mistake.path for m in mistakes if m.path):
            continue  # what it has is not what belongs there: say that
        if mistake.union is not None and len(mistake.path) == len(mistake.union):
            if taken[mistake.union] or mistake.union in told:
                continue  # the shape that was meant has mistakes of its own; say those
            told.add(mistake.union)
        at_key = mistake.kind == "extra_forbidden"
        document.add((*base, *mistake.path), _words(mistake, base, model), at_key=at_key)
        found.append((mistake.path, mistake.kind))
    return found


def _located(error: dict[str, Any], data: Any) -> _Mistake:
    path: list[str | int] = []
    union: Path | None = None
    here = data
    for number, part in enumerate(error["loc"]):
        last = number == len(error["loc"]) - 1
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
        elif not (last and error["type"] == "missing"):
            union = tuple(path) if union is None and part != "[key]" else union
            continue  # the name of a shape that was tried, not a place in the file
        path.append(part)
    return _Mistake(tuple(path), union, error["type"], error)


def _words(mistake: _Mistake, base: Path, model: type[BaseModel]) -> str:
    field = next((str(part) for part in reversed(mistake.path) if isinstance(part, str)), "")
    context = mistake.error.get("ctx", {})
    where = dotted((*base, *mistake.path))
    around = dotted((*base, *mistake.path[:-1]))
    inside = f" in {around}" if around else ""
    kind = mistake.kind
    if mistake.union is not None and len(mistake.path) == len(mistake.union):
        return _expected(mistake, where, field)
    if kind == "extra_forbidden":
        known = known_keys(mistake.path[:-1], model)
        name = mistake.path[-1]
        tail = suggest(name, known) or (f"; known: {', '.join(known)}" if known else "")
        return f"unknown key {str(name)!r}{inside}{tail}"
    if kind == "missing":
        return f"missing key {field!r}{inside}"
    if kind == "value_error":
        return f"{where}: {context['error']}" if where else str(context["error"])
    if kind == "literal_error":
        known = [part.strip(" '\"") for part in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        got = mistake.error.get("input")
        return f"{where}: expected one of {', '.join(known)}; got {shown(got)}{suggest(got, known)}"
    bounds = {"greater_than_equal": ("ge", "at least"), "greater_than": ("gt", "more than"),
              "less_than_equal": ("le", "at most"), "less_than": ("lt", "less than")}  # fmt: skip
    if kind in bounds:
        limit, words = bounds[kind]
        return f"{where}: must be {words} {context[limit]:g}, got {shown(mistake.error.get('input'))}"
    if kind == "too_short":
        few = context.get("min_length", 1)
        return f"{where}: needs at least {few} {'entry' if few == 1 else 'entries'}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {shown(mistake.error.get('input'))} is no name; use letters, digits, dot, dash, underscore"
    return _expected(mistake, where, field)


def _expected(mistake: _Mistake, where: str, field: str) -> str:
    got = mistake.error.get("input")
    shape = _SIMPLE.get(mistake.kind, "")
    inside_list = bool(mistake.path) and isinstance(mistake.path[-1], int)
    if field in _SHAPES and not inside_list and (mistake.union is not None or shape == "a list"):
        shape = "a list of nodes like [n1, n2]" if _is_action(mistake.path) and field == "nodes" else _SHAPES[field]
    if inside_list and field == "groups":
        shape = _NODES
    if shape == "a map" and field in _MAPS:
        shape = f"a map like {_MAPS[field]}"
    if not shape:
        shape = f"something else ({mistake.error.get('msg', mistake.kind)})"
    if shape == "text" and isinstance(got, int | float):
        shape = f'text; write "{got}" in quotes'
    secret = field in _SECRET or isinstance(got, dict | list)
    tail = f", got {_kind_of(got) if secret else shown(got)}"
    return f"{where}: expected {shape}{tail}" if where else f"expected {shape}{tail}; a scenario begins with name:"


def _is_action(path: Path) -> bool:
    return "timeline" in path[:1]


def shown(value: Any) -> str:
    """A value as a person wrote it, cut to a readable length."""
    if value is None:
        return "nothing"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind_of(value: Any) -> str:
    names = {dict: "a map", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)


def dotted(path: Path) -> str:
    """``timeline.0.partition.groups``; steps and operations are counted from 0, as ``--set`` does."""
    return ".".join(str(part) for part in path)


# --- which keys a place knows -------------------------------------------------------------------------------------


def known_keys(path: Path, model: type[BaseModel] = Scenario) -> list[str]:
    """The keys that the map at this place may have; empty where any key is one."""
    types_here: list[Any] = [model]
    for part in path:
        types_here = [t for held in types_here for t in _below(held, part)]
    keys: dict[str, None] = {}
    for held in types_here:
        for model in _models(held):
            keys.update((field.alias or name, None) for name, field in model.model_fields.items())
    return list(keys)


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            for name, field in option.model_fields.items():
                if part in (name, field.alias):
                    yield field.annotation
        elif get_origin(option) is dict and isinstance(part, str):
            yield get_args(option)[1]
        elif get_origin(option) is tuple and isinstance(part, int):
            yield get_args(option)[0]


def _options(annotation: Any) -> Sequence[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for held in get_args(annotation) for option in _options(held)]
    return [annotation]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            yield option
