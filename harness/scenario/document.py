"""YAML text -> plain values and the position of every one of them.

The YAML library only builds its node graph here; values are made from it in this module, which bounds what aliases may
expand to, finds keys given twice, reads the tags ``!tuple``, ``!charlist`` and ``!binary``, and replaces ``${NAME}``
after parsing, so that no value of the environment can change the structure of a document.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from harness.errors import Problem
from harness.scenario.secrets import looks_secret
from harness.scenario.values import TAGS

Path = tuple[str | int, ...]
Position = tuple[int, int]

MAX_CHARACTERS = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 60

_STANDARD = "tag:yaml.org,2002:"
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{[^}]*\}?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_FLOAT = re.compile(r"[-+]?(\d[\d_]*)?(\.\d*)?([eE][-+]?\d+)?")


@dataclass(slots=True)
class Document:
    """``data``: dicts, lists, text, numbers, true/false, None. Positions are 1-based (line, column).

    ``secrets``: values that came from variables whose names look secret.
    """

    file: str
    data: Any = None
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    overridden: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A mistake at ``path``, or at the nearest thing around it that the file has."""
        around = [path[:length] for length in range(len(path), -1, -1)]
        for near in around:
            if near in self.overridden:
                return Problem(f"--set {self.overridden[near]}", 0, 0, message)
        for near in around:
            for marks in (self.keys, self.values) if at_key else (self.values, self.keys):
                if near in marks:
                    return Problem(self.file, *marks[near], message)
        return Problem(self.file, 1, 1, message)

    def add(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self.problem(path, message, at_key=at_key))


def read_document(text: str, file: str, environ: Mapping[str, str]) -> Document:
    """Read one YAML document. Never raises for what the text holds: mistakes are in ``problems``."""
    document = Document(file)
    node = _compose(text, document)
    if document.problems:
        return document
    if node is None:
        document.problems.append(Problem(file, 1, 1, "the file is empty; a scenario begins with name:"))
        return document
    _Builder(document, environ).build(node)
    return document


def read_value(text: str) -> Any:
    """One value as ``--set`` gives it: ``400/s``, ``[n1, n2]``, ``{otp: 25}``. Raises ValueError with a cause."""
    document = Document("--set")
    node = _compose(text, document)
    if node is not None and not document.problems:
        _Builder(document, {}, substitute=False).build(node)
    if document.problems:
        raise ValueError(document.problems[0].message)
    return document.data


def _compose(text: str, document: Document) -> Node | None:
    def refuse(message: str, line: int = 1, column: int = 1) -> None:
        document.problems.append(Problem(document.file, line, column, message))

    if len(text) > MAX_CHARACTERS:
        refuse(f"{len(text)} characters are no scenario; at most {MAX_CHARACTERS}")
        return None
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor given twice is legal YAML
            composed: Node | None = yaml.compose(text)
            return composed
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        told = ", ".join(part for part in (error.context, error.problem) if part)
        refuse(_readable(told, text, line), line, column)
    except RecursionError:
        refuse("nested too deeply")
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # the scanner was not written for hostile input and raises whatever it trips over
        position = getattr(error, "position", 0)
        before = text[: position if isinstance(position, int) else 0]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        told = getattr(error, "reason", "") or "this text cannot be read as YAML"
        refuse(f"not YAML: {told}", line, column)
    return None


def _readable(told: str, text: str, line: int) -> str:
    told = told.replace("'\\x00'", "the end of the file")
    lines = text.splitlines()
    at = lines[line - 1] if line <= len(lines) else ""
    hint = ""
    if "\t" in at[: len(at) - len(at.lstrip())] or "'\\t'" in told:
        hint = "; YAML is indented with spaces, not tabs"
    elif "${" in at and "{" in at.replace("${", ""):
        hint = '; inside { } a ${NAME} needs quotes: "${NAME}"'
    elif "mapping values are not allowed" in told:
        hint = '; a line is indented wrongly, or a text with ": " in it lacks quotes'
    return f"not YAML: {told}{hint}"


class _Builder:
    """Makes values from YAML nodes. An alias is expanded like a copy, all expansions together bounded."""

    def __init__(self, document: Document, environ: Mapping[str, str], *, substitute: bool = True) -> None:
        self._document = document
        self._environ = environ
        self._substitute = substitute
        self._made = 0
        self._open: set[int] = set()  # nodes being expanded: an alias to one of them would never end

    def build(self, node: Node) -> None:
        self._document.data = self._value(node, ())

    def _refuse(self, node: Node, message: str) -> None:
        mark = node.start_mark
        self._document.problems.append(Problem(self._document.file, mark.line + 1, mark.column + 1, message))

    def _value(self, node: Node, path: Path) -> Any:
        self._document.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        self._made += 1
        if self._made >= MAX_VALUES or len(path) > MAX_DEPTH or id(node) in self._open:
            if self._made < MAX_VALUES:
                nested = "nested too deeply" if id(node) not in self._open else "an alias that contains itself"
                self._refuse(node, nested)
            elif self._made == MAX_VALUES:
                self._refuse(node, f"more than {MAX_VALUES} values once aliases are expanded")
            return None
        self._open.add(id(node))
        try:
            return self._made_of(node, path)
        finally:
            self._open.discard(id(node))

    def _made_of(self, node: Node, path: Path) -> Any:
        tag = str(node.tag or "")
        if isinstance(node, ScalarNode):
            return self._scalar(node, tag)
        if isinstance(node, SequenceNode):
            if tag == "!tuple":
                return {"$tuple": [self._value(n, (*path, "$tuple", i)) for i, n in enumerate(node.value)]}
            self._only(node, tag, "seq")
            return [self._value(n, (*path, i)) for i, n in enumerate(node.value)]
        assert isinstance(node, MappingNode), "YAML knows scalars, lists and maps"
        self._only(node, tag, "map")
        return self._mapping(node, path)

    def _only(self, node: Node, tag: str, kind: str) -> None:
        if tag not in (_STANDARD + kind, ""):
            shown = tag.replace(_STANDARD, "!!")
            self._refuse(node, f"unknown tag {shown} here; there are !tuple [..], !charlist text, !binary text")

    # --- maps ---

    def _mapping(self, node: MappingNode, path: Path) -> Any:
        texts: dict[str, Any] = {}
        others: list[list[Any]] = []
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _STANDARD + "merge":
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            key = self._scalar(key_node, str(key_node.tag), key=True) if isinstance(key_node, ScalarNode) else None
            if isinstance(key, str) and (not key.startswith("$") or (key in TAGS and len(node.value) == 1)):
                here = (*path, key)
                if key in texts:
                    line = self._document.keys[here][0]
                    self._refuse(key_node, f"{key!r} is given twice; first on line {line}")
                self._document.keys.setdefault(here, (key_node.start_mark.line + 1, key_node.start_mark.column + 1))
                texts[key] = self._value(value_node, here)
            else:  # an Erlang map may have any key
                number = len(others)
                others.append(
                    [self._value(n, (*path, "$map", number, i)) for i, n in enumerate((key_node, value_node))]
                )
        for base in merged:
            if not isinstance(base, MappingNode):
                self._refuse(base, "<< merges maps only")
                continue
            held = self._value(base, path)
            for key, value in held.items() if isinstance(held, dict) else ():
                texts.setdefault(key, value)
        if others:
            return {"$map": [*([key, value] for key, value in texts.items()), *others]}
        return texts

    # --- scalars ---

    def _scalar(self, node: ScalarNode, tag: str, *, key: bool = False) -> Any:
        written = str(node.value)
        text = self._substituted(node, written) if self._substitute and not key else written
        kind = tag.removeprefix(_STANDARD)
        if tag in ("!charlist", "!binary"):
            return {"$" + tag[1:]: text}
        if kind in ("str", "timestamp", "merge", "value") or text != written:
            return text
        if kind == "binary":
            return {"$base64": "".join(text.split())}
        if kind in ("int", "float", "bool", "null"):
            try:
                return _number_or_word(text)
            except (ValueError, OverflowError):
                self._refuse(node, f"{_short(text)} is no {kind if kind != 'int' else 'whole number'} of this format")
                return None
        self._refuse(
            node, f"unknown tag {tag.replace(_STANDARD, '!!')}; there are !tuple [..], !charlist text, !binary text"
        )
        return None

    def _substituted(self, node: ScalarNode, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$${":
                return "${"
            if name is None:
                self._refuse(
                    node, f"{match[0]} cannot be read; write ${{NAME}}, ${{NAME:-default}}, or $${{ for a plain ${{"
                )
                return ""
            held = self._environ.get(name, "")
            if held or (name in self._environ and default is None):
                if held and looks_secret(name):
                    self._document.secrets.add(held)
                return held
            if default is None:
                self._refuse(node, f"${{{name}}} is not set; export {name}, or write ${{{name}:-default}}")
                return ""
            return str(default)

        return _VARIABLE.sub(value, text) if "$" in text else text


def _number_or_word(text: str) -> Any:
    word = text.lower()
    if word in _WORDS:
        return _WORDS[word]
    if re.fullmatch(r"[-+]?\d[\d_]*", text):
        return int(text.replace("_", ""))
    if re.fullmatch(r"[-+]?0(x[0-9a-fA-F]+|o[0-7]+|b[01]+)", text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and any(c.isdigit() for c in text):
        number = float(text.replace("_", ""))
        if number in (float("inf"), float("-inf")):
            raise OverflowError(text)
        return number
    raise ValueError(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
