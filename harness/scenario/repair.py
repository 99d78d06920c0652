"""Going on after a mistake: what is wrong key by key is mended or taken out, so that the rest can still be checked.

Places keep their index: a broken step becomes a harmless one of the same name. What others refer to (nodes, tables, the
duration) is mended so that it causes no second mistake: a misspelt key counts as the one that was meant, tables are
those that are used, and of nodes that cannot be read, or no duration, the checks know what they cannot say.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from harness.scenario.document import Path
from harness.scenario.expectations import nearest
from harness.scenario.explain import known_keys

_CALL = {"module": "erlang", "function": "node"}
_STEPS = ("timeline", "sequence", "parallel")
_TABLE = {"ram_copies": "all"}
_TABLES: Path = ("cluster", "mnesia", "tables")


def repaired(data: Any, mistakes: Iterable[tuple[Path, str]]) -> Any:
    """A copy of ``data`` without what stands at the mistakes (path, kind of mistake); None where that cannot be."""
    if not isinstance(data, dict):
        return None
    mended = copy.deepcopy(data)
    for path, kind in sorted(mistakes, key=lambda mistake: (mistake[1] == "missing", -len(mistake[0]))):
        if not path or not _mend(mended, path, kind):
            return None
    return mended


def _mend(data: dict[str, Any], path: Path, kind: str) -> bool:
    if (entry := _entry(path)) is not None:
        return _mend_entry(data, entry)
    if kind == "extra_forbidden" and _renamed(_at(data, path[:-1]), path):
        return True
    if kind == "missing" and path[-1] in (_at(data, path[:-1]) or {}):
        return True  # it was there under another name
    if len(path) == 1 and path[0] in ("name", "load", "duration", "cluster"):
        data[str(path[0])] = _stand_in(str(path[0]), data)
    elif path[:2] == ("cluster", "nodes"):
        _mend_nodes(data["cluster"], path[2:])
    elif path in (_TABLES, _TABLES[:2]):
        data["cluster"]["mnesia"] = {"tables": _used(data)}
    elif path[:3] == _TABLES:
        data["cluster"]["mnesia"]["tables"][path[3]] = _TABLE
    elif isinstance(holder := _at(data, path[:-1]), dict):
        holder.pop(path[-1], None)
    else:
        return False
    return True


def _stand_in(key: str, data: dict[str, Any]) -> Any:
    """What a scenario must have. No nodes and no duration stand for any."""
    return {
        "name": "unnamed",
        "load": {"operations": [{"rpc": _CALL}]},
        "duration": "0s",
        "cluster": {"nodes": [], "mnesia": {"tables": _used(data)}},
    }[key]


def _renamed(holder: Any, path: Path) -> bool:
    """The key that was meant takes the place of a misspelt one."""
    meant = nearest(path[-1], known_keys(path[:-1]))
    if not isinstance(holder, dict) or not meant or meant in holder:
        return False
    holder[meant] = holder.pop(path[-1])
    return True


def _mend_nodes(cluster: dict[str, Any], inside: Path) -> None:
    nodes = cluster.get("nodes")
    if not inside or not isinstance(nodes, dict):
        cluster["nodes"] = []
    elif len(inside) == 1:
        nodes[str(inside[0])] = {}
    elif isinstance(options := _at(nodes, inside[:-1]), dict):
        options.pop(inside[-1], None)


def _used(data: dict[str, Any]) -> dict[str, Any]:
    """Every table that the operations name."""
    operations = _at(data, ("load", "operations"))
    called = [
        held.get("table")
        for operation in (operations if isinstance(operations, list) else ())
        for held in (operation.values() if isinstance(operation, dict) else ())
        if isinstance(held, dict)
    ]
    return {name: _TABLE for name in called if isinstance(name, str)}


def _mend_entry(data: dict[str, Any], entry: Path) -> bool:
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
