"""What no artefact may show: the cookie, and what came from a variable or stands in one whose name says so.

A run works with the real values; they are masked where plans, scenarios, events and errors become text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MASK = "********"

_SECRET = re.compile(
    r"pass(word|wd|phrase)?|secret|token|cookie|credential|private|api_?key|(^|_)keys?($|_)", re.IGNORECASE
)
# Where people write text of their own. Names of nodes and tables tie a run's files together and stay as they are:
# a cookie may well be the name of a node.
_FREE = frozenset(
    {"description", "command", "environment", "args", "returns", "volumes"}
    | {"call", "returned", "expected", "error", "cause", "problems"}
)


def looks_secret(name: str) -> bool:
    """Whether a variable of this name holds what nobody else should read."""
    return _SECRET.search(name) is not None


def masked_text(text: str, secrets: Iterable[str]) -> str:
    """Text for people and files without the secrets in it."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def masked(value: Any, secrets: frozenset[str], *, free: bool = False) -> Any:
    """Plain data for artefacts: no secret in any text of a person's own, no value in an ``environment`` whose name
    looks secret. ``{cookie}`` and the names of things stay."""
    if isinstance(value, str):
        return masked_text(value, secrets) if free else value
    if isinstance(value, list | tuple):
        return [masked(entry, secrets, free=free) for entry in value]
    if not isinstance(value, dict):
        return value
    held = {key: masked(entry, secrets, free=free or key in _FREE) for key, entry in value.items()}
    if isinstance(held.get("environment"), dict) and not free:
        held["environment"] = {name: _setting(name, text) for name, text in held["environment"].items()}
    return held


def _setting(name: str, text: Any) -> Any:
    return MASK if looks_secret(name) and text and text != "{cookie}" else text
