"""Going on after a mistake: what is wrong key by key is taken out, so that the rest can still be checked.

Places keep their index: a broken step becomes a harmless one of the same name. Where a mistake would only cause
others (the nodes, the tables, the duration), nothing is repaired.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from harness.scenario.document import Path

_CALL = {"module": "erlang", "function": "node"}
_STEPS = ("timeline", "sequence", "parallel")


def repaired(data: Any, mistakes: Iterable[tuple[Path, str]]) -> Any:
    """A copy of ``data`` without what stands at the mistakes (path, kind of mistake); None where that cannot be."""
    mended = copy.deepcopy(data)
    for path, kind in sorted(mistakes, key=lambda mistake: len(mistake[0]), reverse=True):
        if not path or _causes_others(path, kind):
            return None
        if not _mend(mended, path):
            return None
    return mended


def _causes_others(path: Path, kind: str) -> bool:
    return (
        path[0] in ("duration", "cluster") and (path[0] == "duration" or path[1:2] in ((), ("nodes",), ("mnesia",)))
    ) or (kind == "extra_forbidden" and len(path) <= 2 and path[0] == "cluster")


def _mend(data: Any, path: Path) -> bool:
    entry = _entry(path)
    if entry is None:
        holder = _at(data, path[:-1])
        if path == ("name",):
            data["name"] = "unnamed"
        elif isinstance(holder, dict):
            holder.pop(path[-1], None)
        else:
            return False
        return True
    holder, index = _at(data, entry[:-1]), entry[-1]
    if not isinstance(holder, list) or not isinstance(index, int) or index >= len(holder):
        return False
    was = holder[index]
    if entry[-2] in _STEPS:
        name = was.get("name") if isinstance(was, dict) else None
        holder[index] = {"at": 0, "rpc": _CALL, **({"name": name} if isinstance(name, str) else {})}
    else:
        holder[index] = {"rpc": _CALL} if entry[-2] == "operations" else _CALL
    return True


def _entry(path: Path) -> Path | None:
    """The innermost step, operation or call of ``setup`` that ``path`` is in."""
    for length in range(len(path), 1, -1):
        if path[length - 2] in (*_STEPS, "operations", "setup") and isinstance(path[length - 1], int):
            return path[:length]
    return None


def _at(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data
