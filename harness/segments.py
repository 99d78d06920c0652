"""Operations and lag samples on disk: binary segments, read back as columns.

Each process that drives load appends fixed-width records (``RECORD``, 64 bytes, little endian) to a segment of its own:
one when an operation is invoked, one when it completes. Words (operations, targets, reasons) are numbered in a sidecar
file of JSON lines that is written before the number is first used, so that a segment cut short by SIGKILL is readable
up to its last whole record.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.errors import RunNotFound
from harness.history import INVOKE, UNKNOWN, LagSamples, Operation, Operations

VERSION: Final = 1
LOST_WORD: Final = "?"
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
        lines = path.read_bytes().splitlines()
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


def torn_segments(directory: Path) -> tuple[str, ...]:
    """Names of the files of a history folder that do not end with a whole record."""
    widths = [("ops-*.seg", RECORD.itemsize), ("lag.seg", LAG_SAMPLE.itemsize)]
    sizes = [
        (path, path.stat().st_size - _HEADER.size, width) for glob, width in widths for path in directory.glob(glob)
    ]
    return tuple(sorted(path.name for path, size, width in sizes if size < 0 or size % width))


_CHUNK: Final = 1 << 14  # records looked at together: 1 MB, so that all their columns are read while in cache
_STARTED: Final = ("id", "op", "target", "process", "key", "intended", "time")
_ENDED: Final = ("id", "type", "reason", "time", "value")

_Table = dict[str, npt.NDArray[Any]]  # columns of the same length


def merge_operations(directory: Path) -> Operations:
    """Read every ``*.seg`` of load processes in a history folder and join invocations with completions, by id.

    A record whose word is not in the sidecar was never sent (words are written first), so it is left out; a reason
    that is not there reads LOST_WORD.
    """
    operations: dict[Operation, int] = {}
    targets: dict[str, int] = {}
    reasons: dict[str, int] = {"": 0}
    tables: list[_Table] = [_joined(_Columns(_STARTED).whole(), _Columns(_ENDED).whole())]
    for path in sorted(directory.glob("ops-*.seg")):
        records = read_segment(path)
        words = [*read_words(path.with_suffix(".words")), LOST_WORD]
        lost = len(words) - 1
        ops, asked, causes = (np.full(len(words), -1, dtype=np.int32) for _ in range(3))
        starts, ends = _Columns(_STARTED), _Columns(_ENDED)
        for at in range(0, len(records), _CHUNK):
            chunk = records[at : at + _CHUNK]
            known = (chunk["op"] < lost) & (chunk["target"] < lost)
            invocations = chunk["type"] == INVOKE
            began, ended = chunk[known & invocations], chunk[known & ~invocations]
            cause = np.minimum(ended["reason"], lost)
            _learn(began["op"], words, ops, operations)
            _learn(began["target"], words, asked, targets)
            _learn(cause, words, causes, reasons)
            starts.add(began, op=ops[began["op"]], target=asked[began["target"]])
            ends.add(ended, reason=causes[cause])
        tables.append(_joined(starts.whole(), ends.whole()))
    whole = {name: np.concatenate([table.pop(name) for table in tables]) for name in tuple(tables[0])}
    return Operations(tuple(operations), tuple(targets), tuple(reasons), **_by_id(whole))


class _Columns:
    """Columns collected chunk by chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}

    def add(self, records: npt.NDArray[Any], **mapped: npt.NDArray[Any]) -> None:
        for name, parts in self._parts.items():
            parts.append(mapped[name] if name in mapped else records[name].copy())

    def whole(self) -> _Table:
        """One array per column; the parts are let go."""
        return {
            name: np.concatenate(parts) if (parts := self._parts.pop(name)) else np.empty(0, dtype=RECORD[name])
            for name in tuple(self._parts)
        }


def _learn(
    numbers: npt.NDArray[Any], words: Sequence[Operation | str], mapping: npt.NDArray[np.int32], table: dict[Any, int]
) -> None:
    """Give the words behind these sidecar numbers their number in the whole history."""
    for number in np.flatnonzero(np.bincount(numbers)).tolist():
        if mapping[number] < 0:
            mapping[number] = table.setdefault(words[number], len(table))


def _joined(starts: _Table, ends: _Table) -> _Table:
    """The operations of one segment. What has no completion is unknown."""
    starts = _by_id(starts)
    ids = starts["id"]
    count = len(ids)
    if count and int(ids[-1]) - int(ids[0]) == count - 1:  # a process numbers without gaps: the id tells the row
        row = ends["id"] - ids[0]  # of an id below the first: wraps round to a huge one
        found = row < count
    else:
        row = np.searchsorted(ids, ends["id"])
        found = row < count
        found[found] = ids[row[found]] == ends["id"][found]
    if not bool(found.all()):
        row, ends = row[found], {name: column[found] for name, column in ends.items()}
    table: _Table = {
        "op": starts["op"].astype(np.int32, copy=False),
        "target": starts["target"].astype(np.int32, copy=False),
        "process": starts["process"],
        "id": ids,
        "key": starts["key"],
        "intended": starts["intended"],
        "start": starts["time"],
        "reason": np.zeros(count, dtype=np.int32),
        "outcome": np.full(count, UNKNOWN, dtype=np.uint8),
        "end": np.full(count, -1, dtype=np.int64),
        "value": np.full(count, -1, dtype=np.int64),
    }
    for name, source in (("reason", "reason"), ("outcome", "type"), ("end", "time"), ("value", "value")):
        table[name][row] = ends[source]
    return table


def _by_id(table: _Table) -> _Table:
    ids = table["id"]
    if bool(np.all(ids[:-1] <= ids[1:])):
        return table
    order = np.argsort(ids, kind="stable")
    return {name: column[order] for name, column in table.items()}


def read_lag(directory: Path) -> LagSamples:
    """The lag segment of a history folder; empty when none was written."""
    path = directory / "lag.seg"
    if not path.exists():
        return LagSamples(np.empty(0, dtype=LAG_SAMPLE), ("",))
    return LagSamples(read_segment(path, LAG_SAMPLE), tuple(str(w) for w in read_words(path.with_suffix(".words"))))
