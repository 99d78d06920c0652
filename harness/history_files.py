"""A run's recorded facts between disk and memory: everything ``harness check`` needs, from the files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from harness.errors import RunNotFound, UsageError
from harness.history import (
    OUTCOMES,
    FinalState,
    History,
    JournalEvent,
    NodeView,
    Operations,
    ReplicaState,
    event_to_json,
    read_events,
)
from harness.segments import LOST_WORD, merge_operations, read_lag, torn_segments
from harness.store import RunDir, writing_failed

STATE_VERSION: Final = 2
_ID: Final = np.dtype("<u8")


def load_history(rundir: RunDir) -> History:
    """All recorded facts of a run; parts that were never written are empty. Raises RunNotFound."""
    load = rundir.read_json("load-summary.json")
    lines = _journal_lines(rundir)
    events = _events_of(lines)
    torn = [f"{name} ends in the middle of a record" for name in torn_segments(rundir.history)]
    if unread := len(lines) - len(events):
        torn.append(f"{rundir.events.name}: {unread} of {len(lines)} lines cannot be read")
    operations = merge_operations(rundir.history)
    if LOST_WORD in operations.reasons:
        torn.append("history: words that operations refer to are missing")
    return History(
        plan=rundir.plan(),
        operations=operations,
        events=events,
        lag=read_lag(rundir.history),
        final=read_final(rundir),
        load=load if isinstance(load, dict) else {},
        damage=tuple(torn),
    )


def load_events(rundir: RunDir) -> tuple[JournalEvent, ...]:
    """The journal in the order of time."""
    return _events_of(_journal_lines(rundir))


def _events_of(lines: Sequence[str]) -> tuple[JournalEvent, ...]:
    return tuple(sorted(read_events(lines), key=lambda event: event.time))


def _journal_lines(rundir: RunDir) -> list[str]:
    try:
        return rundir.events.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


# --- what the nodes held at the end -------------------------------------------------------------------------------


def write_final(rundir: RunDir, state: FinalState) -> None:
    """``final/state.json`` beside one file of sorted ids (u64, little endian) per copy and per table's discards.

    state.json is written last: where it is, the others are whole. Raises DiskFull or HarnessError.
    """
    rundir.final.mkdir(exist_ok=True)
    for copy in state.replicas:
        if copy.ids is not None:
            _write_ids(_copy_path(rundir, copy.table, copy.node), copy.ids)
    for table, ids in state.discarded.items():
        _write_ids(_discarded_path(rundir, table), ids)
    replicas = [
        {
            **asdict(replace(copy, ids=None)),
            "ids": None if copy.ids is None else len(copy.ids),
            "updates": _updates_out(copy.updates),
        }
        for copy in state.replicas
    ]
    rundir.write_json(
        "final/state.json",
        {
            "version": STATE_VERSION,
            "time": state.time,
            "replicas": replicas,
            "views": [asdict(view) for view in state.views],
            "problems": list(state.problems),
            "discarded": {table: len(ids) for table, ids in sorted(state.discarded.items())},
            "rpc": [dict(answer) for answer in state.rpc],
        },
    )


def read_final(rundir: RunDir) -> FinalState | None:
    """Inverse of ``write_final``; None when the run never came to it. Raises RunNotFound for a damaged one."""
    data = rundir.read_json("final/state.json")
    if data is None:
        return None
    try:
        if data["version"] != STATE_VERSION:
            cause = f"another version of harness wrote it (format {data['version']}; this one reads {STATE_VERSION})"
            raise RunNotFound("read final/state.json", cause, node=rundir.path.name)
        return FinalState(
            time=int(data["time"]),
            replicas=tuple(_replica_in(rundir, copy) for copy in data["replicas"]),
            views=tuple(_view_in(view) for view in data["views"]),
            problems=tuple(data["problems"]),
            discarded={table: _read_ids(_discarded_path(rundir, table), n) for table, n in data["discarded"].items()},
            rpc=tuple(data["rpc"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise RunNotFound("read final/state.json", f"{type(error).__name__}: {error}", node=rundir.path.name) from error


def _copy_path(rundir: RunDir, table: str, node: str) -> Path:
    return rundir.final / f"{quote(table, safe='')}@{quote(node, safe='')}.u64"


def _discarded_path(rundir: RunDir, table: str) -> Path:
    return rundir.final / f"discarded-{quote(table, safe='')}.u64"


def _write_ids(path: Path, ids: npt.NDArray[np.uint64]) -> None:
    try:
        path.write_bytes(np.sort(ids).astype(_ID).tobytes())
    except OSError as error:
        raise writing_failed(path, error) from error


def _read_ids(path: Path, count: int) -> npt.NDArray[np.uint64]:
    """Raises ValueError where the file was cut short: what is not in it would count as lost."""
    ids = np.frombuffer(path.read_bytes(), dtype=_ID).astype(np.uint64)
    if len(ids) != count:
        raise ValueError(f"{path.name} holds {len(ids)} ids of {count}")
    return ids


def _updates_out(updates: Mapping[int, Any]) -> dict[str, list[int]]:
    return {str(key): [int(i) for i in ids] for key, ids in updates.items()}


def _replica_in(rundir: RunDir, data: dict[str, Any]) -> ReplicaState:
    count = data["ids"]
    ids = None if count is None else _read_ids(_copy_path(rundir, data["table"], data["node"]), count)
    updates = {int(key): tuple(held) for key, held in data["updates"].items()}
    return ReplicaState(**{**data, "ids": ids, "updates": updates})


def _view_in(data: dict[str, Any]) -> NodeView:
    return NodeView(
        node=data["node"],
        answered=data["answered"],
        connected=tuple(data["connected"]),
        running_db_nodes=tuple(data["running_db_nodes"]),
        where_to_write={table: tuple(nodes) for table, nodes in data["where_to_write"].items()},
    )


# --- for other tools ----------------------------------------------------------------------------------------------

FORMATS: Final = ("jsonl", "edn")


def export(rundir: RunDir, form: str = "jsonl") -> Iterator[str]:
    """The history as text, one line per event in the order of time.

    jsonl: invocations and completions (``type`` invoke, ok, fail, unknown) and the journal's events as they are.
    edn: Jepsen's history maps (``:type`` invoke, ok, fail, info; ``:f`` the kind; faults as process ``:nemesis``).
    Raises UsageError for another format, RunNotFound for a damaged run.
    """
    if form not in FORMATS:
        raise UsageError("export history", f"no format {form!r}", f"one of {', '.join(FORMATS)}")
    operations = merge_operations(rundir.history)
    events = load_events(rundir)
    told = _jsonl_operation if form == "jsonl" else _edn_operation
    at = 0
    for index, (row, completes) in enumerate(_in_order_of_time(operations)):
        time = int(operations.end[row] if completes else operations.start[row])
        while at < len(events) and events[at].time <= time:
            yield event_to_json(events[at]) if form == "jsonl" else _edn_event(events[at])
            at += 1
        yield told(operations, row, completes, index, time)
    for event in events[at:]:
        yield event_to_json(event) if form == "jsonl" else _edn_event(event)


def _in_order_of_time(operations: Operations) -> Iterator[tuple[int, bool]]:
    """(row, is it the completion?) for each invocation and completion."""
    completed = np.flatnonzero(operations.end >= 0)
    rows = np.concatenate((np.arange(len(operations)), completed))
    times = np.concatenate((operations.start, operations.end[completed]))
    for at in np.argsort(times, kind="stable"):
        yield int(rows[at]), bool(at >= len(operations))


def _jsonl_operation(ops: Operations, row: int, completes: bool, index: int, time: int) -> str:
    word = ops.operations[ops.op[row]]
    told: dict[str, Any] = {
        "type": OUTCOMES[int(ops.outcome[row])] if completes else "invoke",
        "time": time,
        "id": int(ops.id[row]),
        "process": int(ops.process[row]),
        "op": word.name,
        "kind": word.kind,
        "target": ops.targets[ops.target[row]],
    }
    if word.table:
        told |= {"table": word.table, "context": word.context}
    if ops.key[row] >= 0:
        told["key"] = int(ops.key[row])
    if not completes:
        told["intended"] = int(ops.intended[row])
    else:
        if ops.reason[row]:
            told["reason"] = ops.reasons[ops.reason[row]]
        if ops.value[row] >= 0:
            told["value"] = int(ops.value[row])
    return json.dumps(told, separators=(",", ":"))


def _edn_operation(ops: Operations, row: int, completes: bool, index: int, time: int) -> str:
    word = ops.operations[ops.op[row]]
    outcome = OUTCOMES[int(ops.outcome[row])] if completes else "invoke"
    kind = {"unknown": "info"}.get(outcome, outcome)
    key = int(ops.key[row]) if ops.key[row] >= 0 else None
    value = [key, int(ops.id[row])]
    if word.kind == "read":
        value = [key, int(ops.value[row]) if completes and ops.value[row] >= 0 else None]
    told: dict[str, Any] = {
        "index": index,
        "type": _Keyword(kind),
        "process": int(ops.process[row]),
        "f": _Keyword(word.kind),
        "value": value,
        "time": time,
        "node": ops.targets[ops.target[row]],
    }
    if word.table:
        told |= {"table": word.table, "context": _Keyword(word.context)}
    if completes and ops.reason[row]:
        told["error"] = ops.reasons[ops.reason[row]]
    return _edn(told)


def _edn_event(event: JournalEvent) -> str:
    data = json.loads(event_to_json(event))
    data.pop("type")
    named = data.pop("kind", None) or data.pop("event", None) or data.pop("name", "")
    time = data.pop("time")
    process = _Keyword("nemesis" if event.type == "fault" else event.type)
    return _edn({"type": _Keyword("info"), "process": process, "f": _Keyword(named), "time": time, "value": data})


class _Keyword(str):
    """An EDN keyword."""


def _edn(value: Any) -> str:
    if isinstance(value, _Keyword):
        return ":" + "".join(c if c.isalnum() or c in "-_.*+!?" else "-" for c in value)
    if value is None:
        return "nil"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_edn_key(key)} {_edn(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_edn(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # numbers, strings, booleans are written alike


def _edn_key(key: object) -> str:
    text = str(key)
    plain = text[:1].isalpha() and all(c.isalnum() or c in "-_" for c in text)
    return _edn(_Keyword(text)) if plain else _edn(text)
