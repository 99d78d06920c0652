"""A scenario file -> Scenario, or every mistake in it at once, each with file:line:column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.data import data_path
from harness.errors import Problem, ScenarioError, UsageError
from harness.scenario.check import check
from harness.scenario.document import Document, read_document, read_value
from harness.scenario.expectations import suggest
from harness.scenario.explain import dotted, explain, shown
from harness.scenario.repair import repaired
from harness.scenario.schema import Scenario
from harness.scenario.secrets import masked_text
from harness.scenario.units import WRITTEN

_REPAIRS = 4


def find_scenario(name: str) -> Path:
    """The file of this path, or the shipped scenario of this name (``partition.yml``, ``partition``).

    Raises UsageError.
    """
    here = Path(name)
    if here.is_file():
        return here
    shipped = shipped_scenarios()
    if here.name == name:
        for candidate in (name, f"{name}.yml"):
            if candidate in shipped:
                return shipped[candidate]
    near = suggest(name if name.endswith(".yml") else f"{name}.yml", shipped if here.name == name else ())
    remedy = near.removeprefix("; ") or f"name a file, or one of {', '.join(shipped)}"
    cause = f"{name} is a folder" if here.is_dir() else f"{name}: no such file and no shipped scenario of that name"
    raise UsageError("find scenario", cause, remedy)


def shipped_scenarios() -> dict[str, Path]:
    """File name -> path of the scenarios that come with the harness."""
    return {path.name: path for path in sorted(data_path("scenarios").glob("*.yml"))}


def load_scenario(source: Path | str, environ: Mapping[str, str], settings: Sequence[str] = ()) -> Scenario:
    """Read, validate and check a scenario. A Path is a file; a str is the text itself.

    ``environ`` answers ``${NAME}``; ``settings`` are ``path=value`` as ``--set`` takes them. Raises ScenarioError
    with every mistake found, in file order.
    """
    document, base = _document(source, environ)
    if document.data is None and document.problems:
        raise ScenarioError(_in_order(document.problems, (), document.secrets))
    broken = document.problems[:]
    apply_overrides(document, settings)
    scenario = _validated(document, broken)
    if scenario is not None:
        check(scenario, document, base)
    if document.problems:
        raise ScenarioError(_in_order(document.problems, broken, document.secrets))
    assert scenario is not None, "no scenario without a problem"
    return _located(scenario, base).holding(frozenset(document.secrets))


def load_scenarios(
    names: Iterable[str], environ: Mapping[str, str], settings: Sequence[str] = ()
) -> list[tuple[Path, Scenario]]:
    """All of these files and shipped scenarios, each with its path. Raises one ScenarioError with the mistakes of all
    and those that are not there; UsageError where that is all there is to say."""
    loaded: list[tuple[Path, Scenario]] = []
    missing: list[UsageError] = []
    problems: list[Problem] = []
    for name in names:
        try:
            path = find_scenario(name)
            loaded.append((path, load_scenario(path, environ, settings)))
        except ScenarioError as error:
            problems.extend(error.problems)
        except UsageError as error:
            missing.append(error)
            problems.append(Problem(f"harness: {error.operation}", 0, 0, f"{error.cause}; {error.remedy}"))
    if len(missing) == len(problems) == 1:
        raise missing[0]
    if problems:
        raise ScenarioError(problems)
    return loaded


def _document(source: Path | str, environ: Mapping[str, str]) -> tuple[Document, Path]:
    if isinstance(source, str):
        return read_document(source, "<text>", environ), Path().absolute()
    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError([Problem(str(source), 1, 1, f"not UTF-8 text: byte {error.start}")]) from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise ScenarioError([Problem(str(source), 1, 1, f"cannot be read: {cause}")]) from error
    return read_document(text, str(source), environ), source.absolute().parent


def _validated(document: Document, broken: list[Problem]) -> Scenario | None:
    """The scenario, or what is left of it without its mistakes, so that the rest can be checked as well.

    Values that are not what belongs there join those that could not be read, ``broken``.
    """
    left, told = document.data, document
    for _ in range(_REPAIRS):
        try:
            return Scenario.model_validate(left, context=WRITTEN)
        except ValidationError as error:
            before = len(told.problems)
            mistakes = explain(error, told)
            if told is document:
                broken += [p for p in document.problems[before:] if p.place not in {b.place for b in broken}]
            left = repaired(left, mistakes)
        if left is None:
            return None
        told = replace(document, data=left, problems=[])  # what is wrong below a misspelt key: for later
    return None


def _in_order(problems: Sequence[Problem], broken: Sequence[Problem], secrets: Iterable[str]) -> list[Problem]:
    """In file order. A value that is ``broken`` causes no second problem."""
    unread = {problem.place for problem in broken}
    kept = [*broken, *(p for p in problems if p.place not in unread)]
    kept = [replace(problem, message=masked_text(problem.message, secrets)) for problem in kept]
    return sorted(dict.fromkeys(kept), key=lambda problem: (problem.line, problem.column, problem.message))


def _located(scenario: Scenario, base: Path) -> Scenario:
    """Relative paths start at the scenario's folder; from here on they are absolute."""
    load, cluster = scenario.load, scenario.cluster
    if load.locustfile is not None:
        load = load.model_copy(update={"locustfile": str(base / load.locustfile)})
    volumes = tuple(_volume(volume, base) for volume in cluster.volumes)
    cluster = cluster.model_copy(update={"volumes": volumes})
    return scenario.model_copy(update={"load": load, "cluster": cluster})


def _volume(volume: str, base: Path) -> str:
    """``./conf:/etc/shop:ro``: a relative path starts at the scenario's folder, a bare name is a named volume."""
    host, colon, rest = volume.partition(":")
    return f"{base / host}{colon}{rest}" if re.match(r"\.{1,2}(/|$)", host) else volume


# --- overrides ----------------------------------------------------------------------------------------------------


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set ``load.rate=100/s``, ``timeline.0.for=5s`` or, by a step's name, ``timeline.cut.for=5s`` in the document.

    A path may make new keys in maps, never new entries in lists. Mistakes become problems of the document.
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            document.problems.append(Problem(f"--set {override}", 0, 0, "write path=value, like load.rate=100/s"))
            continue
        try:
            _set(document, parts, read_value(text) if text.strip() else "", override)
        except ValueError as error:
            document.problems.append(Problem(f"--set {override}", 0, 0, str(error)))


def _set(document: Document, parts: Sequence[str], value: Any, override: str) -> None:
    holder: Any = document.data
    done: list[str | int] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        key: str | int = _index(holder, part, done) if isinstance(holder, list) else part
        done.append(key)
        if not isinstance(holder, dict | list):
            raise ValueError(
                f"{'.'.join(map(str, done[:-1])) or 'the scenario'} is {shown(holder)}, no map to set {part} in"
            )
        if last:
            holder[key] = value  # type: ignore[index]
        elif isinstance(holder, dict):
            if holder.get(part) is None:
                holder[part] = {}
                document.overridden[tuple(done)] = override
            holder = holder[part]
        else:
            holder = holder[key]  # type: ignore[index]
    document.overridden[tuple(done)] = override


def _index(holder: list[Any], part: str, done: Sequence[str | int]) -> int:
    for index, entry in enumerate(holder):
        if isinstance(entry, dict) and entry.get("name") == part:
            return index
    if part.isdecimal() and int(part) < len(holder):
        return int(part)
    names = [str(entry["name"]) for entry in holder if isinstance(entry, dict) and entry.get("name")]
    known = f"0..{len(holder) - 1}" if holder else "none"
    raise ValueError(f"{dotted(tuple(done))} has no entry {part}; there are {', '.join([known, *names])}")
