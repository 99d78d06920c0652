"""What happened in a run, as data: operations in binary segments, everything else as journal lines.

Operations. Each process that drives load appends fixed-width records (``RECORD``, 64 bytes, little endian) to a
segment of its own: one when an operation is invoked, one when it completes. A completion is ``ok`` (took effect),
``fail`` (certainly did not) or ``unknown`` (may have); an invocation without completion is unknown for ever (the rule
of Jepsen histories). Words (operations, targets, reasons) are numbered in a sidecar file of JSON lines that is written
before the number is first used, so that a segment cut short by SIGKILL is readable up to its last whole record.

Times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from harness.errors import RunNotFound

INVOKE: Final = 1
OK: Final = 2
FAIL: Final = 3
UNKNOWN: Final = 4
OUTCOMES: Final[dict[int, str]] = {OK: "ok", FAIL: "fail", UNKNOWN: "unknown"}

VERSION: Final = 1
_MAGIC: Final = b"HARNESS\x00"
_HEADER: Final = struct.Struct("<8sHH20s")  # magic, version, record size, reserved

RECORD: Final = np.dtype(
    [
        ("type", "u1"),  # INVOKE | OK | FAIL | UNKNOWN
        ("flags", "u1"),
        ("op", "<u2"),  # index into the sidecar's words: what was asked
        ("target", "<u2"),  # index: the node asked
        ("reason", "<u2"),  # index: why it failed or is unknown (0: none)
        ("process", "<u8"),  # logical process; retired after an unknown outcome
        ("id", "<u8"),  # operation id, unique in the run, the same in invocation and completion
        ("key", "<i8"),  # row touched, -1 where none
        ("intended", "<i8"),  # when the operation was due (open loop), else its actual start
        ("time", "<i8"),  # INVOKE: actual start; completion: when it was known
        ("value", "<i8"),  # small result of a read (rows found), -1 where none
        ("reserved", "<u8"),
    ]
)
_PACK: Final = struct.Struct("<BBHHHQQqqqqQ").pack
assert RECORD.itemsize == 64

LAG_SAMPLE: Final = np.dtype(
    [
        ("time", "<i8"),  # when the row became readable on the replica
        ("lag", "<i8"),  # readable minus acknowledged, ns; negative: visible before the ack
        ("sequence", "<u8"),
        ("table", "<u2"),  # indices into the sidecar's words
        ("source", "<u2"),
        ("replica", "<u2"),
        ("context", "<u2"),
    ]
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation index means. ``kind``: rpc, write, read, update, or a user's own name."""

    name: str
    kind: str
    table: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One stage in the life of a fault (or recovery, or rpc step).

    ``stage``: planned, injecting, bit, not_bitten, healing, healed, not_healed, skipped, failed.
    ``step`` is the step's id in the plan, ``kind`` its action, ``targets`` scenario node names.
    """

    type: ClassVar[str] = "fault"
    time: int
    step: str
    kind: str
    stage: str
    targets: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """Something seen on ``node`` at ``time``: nodeup, nodedown, mnesia_up, mnesia_down, inconsistent_database, ..."""

    type: ClassVar[str] = "observation"
    time: int
    node: str
    event: str
    peer: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the run itself: ``phase`` (detail.phase), ``worker_lost``, ``renewal_missed``, ``note``, ..."""

    type: ClassVar[str] = "mark"
    time: int
    name: str
    detail: Mapping[str, Any] = field(default_factory=dict)


JournalEvent = FaultRecord | Observation | Mark
_EVENT_TYPES: Final[dict[str, type[FaultRecord] | type[Observation] | type[Mark]]] = {
    kind.type: kind for kind in (FaultRecord, Observation, Mark)
}


def event_to_json(event: JournalEvent) -> str:
    """One journal line, without the newline."""
    return json.dumps({"type": event.type, **asdict(event)}, separators=(",", ":"), default=str)


def event_from_json(line: str) -> JournalEvent:
    """Inverse of ``event_to_json``. Raises ValueError, KeyError or TypeError for other lines."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise TypeError("an event is an object")
    kind = _EVENT_TYPES[data.pop("type")]
    if "targets" in data:
        data["targets"] = tuple(data["targets"])
    return kind(**data)


# --- segments -----------------------------------------------------------------------------------------------------


class Words:
    """The sidecar: numbers for words, each on disk before its number is used. Number 0 is the empty word."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._numbers: dict[Operation | str, int] = {"": 0}

    def number(self, word: Operation | str) -> int:
        known = self._numbers.get(word)
        if known is not None:
            return known
        number = len(self._numbers)
        line = json.dumps(asdict(word) if isinstance(word, Operation) else word) + "\n"
        os.write(self._fd, line.encode())
        self._numbers[word] = number
        return number

    def close(self) -> None:
        os.close(self._fd)


def read_words(path: Path) -> list[Operation | str]:
    """The words of one sidecar, indexed by their number; a torn last line is left out.

    No file: the process died before its first word, so no record has any.
    """
    words: list[Operation | str] = [""]
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return words
    for line in lines:
        try:
            word = json.loads(line)
            words.append(Operation(**word) if isinstance(word, dict) else str(word))
        except (ValueError, TypeError):
            break
    return words


class Segment:
    """Append-only file of fixed-width records. ``flush`` is one write(2); OSError (disk full) passes through."""

    def __init__(self, path: Path, dtype: np.dtype[Any] = RECORD) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._buffer = bytearray(_HEADER.pack(_MAGIC, VERSION, dtype.itemsize, b""))
        self.words = Words(path.with_suffix(".words"))
        self.flush()

    def append(self, record: bytes) -> None:
        self._buffer += record

    def flush(self) -> None:
        """Hand everything appended so far to the kernel, from where it survives our own SIGKILL."""
        while self._buffer:
            written = os.write(self._fd, self._buffer)
            del self._buffer[:written]

    def close(self) -> None:
        self.flush()
        os.close(self._fd)
        self.words.close()


def pack_record(
    type: int,
    op: int,
    target: int,
    reason: int,
    process: int,
    id: int,
    key: int,
    intended: int,
    time: int,
    value: int,
) -> bytes:
    """One ``RECORD`` as bytes."""
    return _PACK(type, 0, op, target, reason, process, id, key, intended, time, value, 0)


def read_segment(path: Path, dtype: np.dtype[Any] = RECORD) -> npt.NDArray[Any]:
    """All whole records of a segment, mapped, not read. Raises RunNotFound for a file of another kind or version."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if len(head) < _HEADER.size:
        return np.empty(0, dtype=dtype)
    magic, version, width, _ = _HEADER.unpack(head)
    if magic != _MAGIC or version != VERSION or width != dtype.itemsize:
        raise RunNotFound("read history", f"{path.name} is no history segment of version {VERSION}")
    whole = (size - _HEADER.size) // dtype.itemsize
    if not whole:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=_HEADER.size, shape=(whole,)))


# --- merged -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operations:
    """Invocation and completion joined: one row per operation, columns of equal length.

    ``outcome`` holds OK, FAIL or UNKNOWN; where no completion was written ``end`` is -1 and the outcome UNKNOWN.
    ``op``, ``target`` and ``reason`` index ``operations``, ``targets`` and ``reasons``.
    """

    operations: tuple[Operation, ...]
    targets: tuple[str, ...]
    reasons: tuple[str, ...]
    op: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    reason: npt.NDArray[np.int32]
    outcome: npt.NDArray[np.uint8]
    process: npt.NDArray[np.uint64]
    id: npt.NDArray[np.uint64]
    key: npt.NDArray[np.int64]
    intended: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.id)

    def where(self, mask: npt.NDArray[np.bool_]) -> Operations:
        """The rows the mask selects."""
        return Operations(
            self.operations,
            self.targets,
            self.reasons,
            *(getattr(self, name)[mask] for name in _COLUMNS),
        )

    def of_kind(self, *kinds: str, table: str | None = None, context: str | None = None) -> npt.NDArray[np.bool_]:
        """Mask of the rows whose operation has one of these kinds, and this table and context where given."""
        wanted = [
            i
            for i, o in enumerate(self.operations)
            if o.kind in kinds and table in (None, o.table) and context in (None, o.context)
        ]
        return np.isin(self.op, wanted)


_COLUMNS: Final = (
    "op",
    "target",
    "reason",
    "outcome",
    "process",
    "id",
    "key",
    "intended",
    "start",
    "end",
    "value",
)


_CHUNK: Final = 1 << 16  # records looked at together, so that all their columns are read while they are in cache
_STARTED: Final = ("op", "target", "process", "id", "key", "intended", "time")
_ENDED: Final = ("type", "reason", "id", "time", "value")


def merge_operations(directory: Path) -> Operations:
    """Read every ``*.seg`` of load processes in a history folder and join invocations with completions.

    A record whose word is not in the sidecar was never sent (words are written first), so it is left out.
    """
    operations: dict[Operation, int] = {}
    targets: dict[str, int] = {}
    reasons: dict[str, int] = {"": 0}
    starts, ends = _Columns(_STARTED), _Columns(_ENDED)
    for path in sorted(directory.glob("ops-*.seg")):
        records = read_segment(path)
        words = read_words(path.with_suffix(".words"))
        ops, asked, causes = (np.full(len(words), -1, dtype=np.int32) for _ in range(3))
        for at in range(0, len(records), _CHUNK):
            chunk = records[at : at + _CHUNK]
            known = (chunk["op"] < len(words)) & (chunk["target"] < len(words))
            invocations = chunk["type"] == INVOKE
            began, ended = chunk[known & invocations], chunk[known & ~invocations]
            _learn(began["op"], words, ops, operations)
            _learn(began["target"], words, asked, targets)
            _learn(np.where(ended["reason"] < len(words), ended["reason"], 0), words, causes, reasons)
            starts.add(began, op=ops[began["op"]], target=asked[began["target"]])
            ends.add(ended, reason=causes[np.where(ended["reason"] < len(words), ended["reason"], 0)])
    return _joined(tuple(operations), tuple(targets), tuple(reasons), starts.joined(), ends.joined())


class _Columns:
    """Columns collected chunk by chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}

    def add(self, records: npt.NDArray[Any], **mapped: npt.NDArray[Any]) -> None:
        for name, parts in self._parts.items():
            parts.append(mapped[name] if name in mapped else records[name].copy())

    def joined(self) -> dict[str, npt.NDArray[Any]]:
        """One array per column, sorted by id; the parts are let go."""
        order: npt.NDArray[np.intp] | None = None
        columns: dict[str, npt.NDArray[Any]] = {}
        for name in sorted(self._parts, key=lambda name: name != "id"):
            parts = self._parts.pop(name)
            column = np.concatenate(parts) if parts else np.empty(0, dtype=RECORD[name])
            parts.clear()
            if name == "id" and len(column) and not bool(np.all(column[:-1] <= column[1:])):
                order = np.argsort(column, kind="stable")
            columns[name] = column if order is None else column[order]
        return columns


def _learn(
    numbers: npt.NDArray[Any], words: Sequence[Operation | str], mapping: npt.NDArray[np.int32], table: dict[Any, int]
) -> None:
    """Give the words behind these sidecar numbers their number in the whole history."""
    for number in np.unique(numbers):
        if mapping[number] < 0:
            mapping[number] = table.setdefault(words[number], len(table))


def _joined(
    operations: tuple[Operation, ...],
    targets: tuple[str, ...],
    reasons: tuple[str, ...],
    starts: Mapping[str, npt.NDArray[Any]],
    ends: Mapping[str, npt.NDArray[Any]],
) -> Operations:
    at = np.searchsorted(ends["id"], starts["id"])
    found = at < len(ends["id"])
    found[found] = ends["id"][at[found]] == starts["id"][found]
    at = at[found]
    columns: dict[str, npt.NDArray[Any]] = {
        "reason": np.zeros(len(found), dtype=np.int32),
        "outcome": np.full(len(found), UNKNOWN, dtype=np.uint8),
        "end": np.full(len(found), -1, dtype=np.int64),
        "value": np.full(len(found), -1, dtype=np.int64),
    }
    for name, source in (("reason", "reason"), ("outcome", "type"), ("end", "time"), ("value", "value")):
        columns[name][found] = ends[source][at]
    return Operations(
        operations=operations,
        targets=targets,
        reasons=reasons,
        op=starts["op"].astype(np.int32, copy=False),
        target=starts["target"].astype(np.int32, copy=False),
        process=starts["process"],
        id=starts["id"],
        key=starts["key"],
        intended=starts["intended"],
        start=starts["time"],
        **columns,
    )


@dataclass(frozen=True, slots=True)
class LagSamples:
    """Lag samples of a run: ``rows`` has dtype LAG_SAMPLE, its word columns index ``words``."""

    rows: npt.NDArray[Any]
    words: tuple[str, ...]


def read_lag(directory: Path) -> LagSamples:
    """The lag segment of a history folder; empty when none was written."""
    path = directory / "lag.seg"
    if not path.exists():
        return LagSamples(np.empty(0, dtype=LAG_SAMPLE), ("",))
    return LagSamples(read_segment(path, LAG_SAMPLE), tuple(str(w) for w in read_words(path.with_suffix(".words"))))


# --- what the nodes held at the end -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One node's own copy of one table after quiesce.

    ``ids``: sorted operation ids found in it, or None where the rows are not ours to read (a user's table).
    ``updates``: list key -> operation ids in the order the row holds them.
    """

    node: str
    table: str
    count: int
    digest: str
    serves_reads: bool
    ids: npt.NDArray[np.uint64] | None = None
    updates: Mapping[int, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node said of the cluster after quiesce; ``answered`` False: it could not be asked."""

    node: str
    answered: bool
    connected: tuple[str, ...] = ()
    running_db_nodes: tuple[str, ...] = ()
    where_to_write: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FinalState:
    """Every replica read after quiesce; ``problems`` says in words what could not be read.

    ``discarded``: table -> operation ids that a recovery step dropped; an acknowledged one among them is still lost.
    ``rpc``: answers of the scenario's ``expect: rpc``, one mapping each: call, node, returned, expected, ok.
    """

    time: int
    replicas: tuple[ReplicaState, ...] = ()
    views: tuple[NodeView, ...] = ()
    problems: tuple[str, ...] = ()
    discarded: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)
    rpc: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """All recorded facts of one run: what checkers see, and all they see."""

    plan: Any  # harness.scenario.plan.Plan; this module stands below it
    operations: Operations
    events: tuple[JournalEvent, ...]
    lag: LagSamples
    final: FinalState | None
    load: Mapping[str, Any] = field(default_factory=dict)  # last merged snapshot: offered, late, dropped per reason

    def faults(self) -> Iterator[FaultRecord]:
        return (e for e in self.events if isinstance(e, FaultRecord))

    def observations(self, *kinds: str) -> Iterator[Observation]:
        return (e for e in self.events if isinstance(e, Observation) and (not kinds or e.event in kinds))

    def marks(self, name: str) -> Iterator[Mark]:
        return (e for e in self.events if isinstance(e, Mark) and e.name == name)


def read_events(lines: Iterable[str]) -> tuple[JournalEvent, ...]:
    """Journal lines back as events; a torn last line (SIGKILL in the middle of a write) is left out."""
    events: list[JournalEvent] = []
    for line in lines:
        try:
            events.append(event_from_json(line))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(events)
