"""Erlang terms as a scenario writes them, and as Plan and artefacts keep them (plain JSON values).

========================  ==========================================
``"text"``                binary (UTF-8)
``":name"``               atom
``{"$tuple": [...]}``     tuple, in YAML ``!tuple [a, b]``
``{"$charlist": "text"}`` list of code points, in YAML ``!charlist text``
``{"$binary": ":text"}``  binary whose text begins with a colon, in YAML ``!binary ":text"``
``{"$base64": "..."}``    binary that is no UTF-8
``{"$map": [[k, v]]}``    map with keys that are no text
``{"$term": "..."}``      pid, reference, port, fun, bit string, integer of thousands of digits, what is nested deeper
                          than 100 levels: readable, not written back
numbers, lists, maps,     themselves; ``null`` is the atom ``undefined``
``true``, ``false``
========================  ==========================================
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from harness.errors import EncodeError, shown
from harness.etf import Atom, PairMap, Term, encode
from harness.etf.terms import map_of

TAGS = ("$tuple", "$charlist", "$binary", "$base64", "$map")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "undefined": None}
_DEEPEST = 100  # levels of a term; Python's own writer of JSON ends at some hundreds
_LONGEST = 10_000  # bits of an integer; Python writes at most 4,300 digits
_ELIXIR = re.compile(r"[A-Z][A-Za-z0-9_]*(\.[A-Z][A-Za-z0-9_]*)*")


def module_name(written: str) -> str:
    """The module atom of a name: ``lists``, ``:lists``, ``Shop.Orders`` -> ``Elixir.Shop.Orders``."""
    name = written.removeprefix(":")
    if _ELIXIR.fullmatch(name) and name != "Elixir" and not name.startswith("Elixir."):
        return f"Elixir.{name}"
    return name


def atom(name: str) -> Term:
    """An atom as the distribution room maps it: true, false and undefined are Python's own."""
    return _WORDS[name] if name in _WORDS else Atom(name)


def to_term(value: Any) -> Term:
    """A JSON value of a scenario as a term. Raises ValueError for a ``{"$...": ...}`` that means nothing."""
    if isinstance(value, str):
        return atom(value[1:]) if len(value) > 1 and value.startswith(":") else value.encode()
    if isinstance(value, list | tuple):
        return [to_term(element) for element in value]
    if isinstance(value, dict):
        if len(value) == 1:
            ((key, held),) = value.items()
            if isinstance(key, str) and key.startswith("$"):
                return _tagged(key, held)
        return map_of([to_term(key) for key in value], [to_term(held) for held in value.values()])
    return value


def _tagged(tag: str, held: Any) -> Term:
    if tag == "$tuple" and isinstance(held, list | tuple):
        return tuple(to_term(element) for element in held)
    if tag == "$charlist" and isinstance(held, str):
        return [ord(character) for character in held]
    if tag == "$binary" and isinstance(held, str):
        return held.encode()
    if tag == "$base64" and isinstance(held, str):
        try:
            return base64.b64decode(held, validate=True)
        except binascii.Error as error:
            raise ValueError(f"$base64: {error}") from error
    if tag == "$map" and isinstance(held, list | tuple) and all(_is_pair(pair) for pair in held):
        made = map_of([to_term(key) for key, _ in held], [to_term(value) for _, value in held])
        try:
            encode(made)
        except EncodeError as error:  # a key that stands there twice
            raise ValueError(f"$map: {error.cause}") from error
        return made
    raise ValueError(f"{tag} with {type(held).__name__} is no term")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def from_term(term: Term, depth: int = _DEEPEST) -> Any:
    """A term as a JSON value; ``to_term`` gives the same term back, except for ``$term``."""
    if isinstance(term, Atom):
        return f":{term}"
    if isinstance(term, str):
        return from_term(term.encode())
    if term is None or isinstance(term, bool | float) or (isinstance(term, int) and term.bit_length() < _LONGEST):
        return term
    if isinstance(term, bytes):
        try:
            text = term.decode()
        except UnicodeDecodeError:
            return {"$base64": base64.b64encode(term).decode()}
        return {"$binary": text} if text.startswith(":") else text
    if depth and isinstance(term, tuple):
        return {"$tuple": [from_term(element, depth - 1) for element in term]}
    if depth and isinstance(term, list):
        return [from_term(element, depth - 1) for element in term]
    if depth and isinstance(term, dict | PairMap):
        pairs = [(from_term(key, depth - 1), from_term(value, depth - 1)) for key, value in term.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$map": [list(pair) for pair in pairs]}
    return {"$term": shown(term)}
