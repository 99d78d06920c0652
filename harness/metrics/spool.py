"""The run's samples on disk while it lasts, and ``metrics.om`` made of them at its end.

A spool folder holds one file of fixed-width binary rows for each family (number of the metric, Unix time, values)
and one file of JSON lines: first the labels of the run, which every metric gets (a Prometheus that scrapes the run
adds the same), then which labels a number stands for, written before the number is used. Memory stays flat however long
the run is: OpenMetrics wants every metric's points together, and the rows are regrouped through a memory map.

Format written: OpenMetrics 1.0, timestamps in seconds, families contiguous, metrics within them too, ``# EOF``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from harness.errors import DiskFull, HarnessError
from harness.metrics.figures import Figures
from harness.metrics.names import FAMILIES, Family, Labels

_INDEX: Final = "labels.jsonl"
_BY_NAME: Final = {family.name: family for family in FAMILIES}
_CHUNK: Final = 4096  # rows turned into text at a time


def _width(family: Family) -> int:
    match family.kind:
        case "histogram":
            return len(family.buckets) + 2  # +Inf and the sum
        case "stateset":
            return len(family.states)
    return 1


def _row(family: Family) -> np.dtype[Any]:
    return np.dtype([("metric", "<u4"), ("time", "<f8"), ("values", "<f8", (_width(family),))])


class Spool:
    """Append-only samples of one run below ``folder``. ``run``: labels that all its metrics get in the end."""

    def __init__(self, folder: Path, run: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._index = _append_only(folder / _INDEX)
        self._run: Mapping[str, str] | None = run  # until it is written
        self._files: dict[str, int] = {}
        self._numbers: dict[tuple[str, Labels], int] = {}

    def append(self, figures: Figures, at_s: float) -> None:
        """Write every metric as it stands, dated ``at_s`` (Unix seconds). OSError (disk full) passes through."""
        if self._run is not None:
            _write(self._index, (json.dumps(dict(self._run)) + "\n").encode())
            self._run = None
        rows: dict[str, bytearray] = {}
        for point in figures.points():
            family = point.family
            number = self._number(family.name, point.labels)
            row = np.array((number, at_s, point.values), dtype=_row(family)).tobytes()
            rows.setdefault(family.name, bytearray()).extend(row)
        for name, data in rows.items():
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = _append_only(self.folder / f"{name}.rows")
            _write(file, data)

    def _number(self, name: str, labels: Labels) -> int:
        known = self._numbers.get((name, labels))
        if known is None:
            known = self._numbers[name, labels] = len(self._numbers)
            _write(self._index, (json.dumps([known, name, labels]) + "\n").encode())
        return known

    def close(self) -> None:
        for file in (self._index, *self._files.values()):
            os.close(file)


def _append_only(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _write(file: int, data: bytes | bytearray) -> None:
    if os.write(file, data) < len(data):  # a regular file takes less only when there is no room for more
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Sampler:
    """Samples the metrics into a spool, once per ``interval`` (s), until ``finish`` makes metrics.om of it."""

    def __init__(
        self, figures: Figures, folder: Path, interval: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._figures = figures
        self._spool = Spool(folder, figures.run_labels)
        self._interval = interval
        self._clock = clock
        self._ended = threading.Event()
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="metrics-sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._sample()
            due = max(due + self._interval, time.monotonic())

    def _sample(self) -> None:
        if self._failed is not None:
            return
        try:
            self._spool.append(self._figures, self._clock())
        except OSError as error:  # told by finish(): a full disk must not end the run it is recording
            self._failed = error

    def finish(self, path: Path) -> None:
        """Take a last sample, write ``path`` and remove the spool. Raises DiskFull, or HarnessError."""
        self._ended.set()
        self._thread.join()
        self._sample()
        self._spool.close()
        try:
            if self._failed is not None:
                raise self._failed
            write_openmetrics(self._spool.folder, path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("write metrics", f"no space left for {path}", "free some space") from error
            raise HarnessError("write metrics", f"{path}: {error.strerror}") from error
        shutil.rmtree(self._spool.folder, ignore_errors=True)


def write_openmetrics(folder: Path, path: Path) -> None:
    """Turn a spool folder into an OpenMetrics file. OSError passes through."""
    metrics: dict[str, dict[int, Labels]] = {}
    first, *lines = (folder / _INDEX).read_text().splitlines()
    run: dict[str, str] = json.loads(first)
    for line in lines:
        number, name, labels = json.loads(line)
        metrics.setdefault(name, {})[number] = tuple(labels)
    fresh = path.with_name(f".{path.name}.new")
    try:
        with open(fresh, "w") as out:
            for name, family in _BY_NAME.items():
                rows = folder / f"{name}.rows"
                if rows.exists() and rows.stat().st_size >= _row(family).itemsize:
                    _write_family(out, family, rows, metrics.get(name, {}), run)
            out.write("# EOF\n")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _write_family(out: IO[str], family: Family, path: Path, metrics: dict[int, Labels], run: Mapping[str, str]) -> None:
    dtype = _row(family)
    whole = path.stat().st_size // dtype.itemsize  # a torn last row is left out
    rows = np.memmap(path, dtype=dtype, mode="r", shape=(whole,))
    out.write(f"# TYPE {family.name} {family.kind}\n# HELP {family.name} {_escape(family.help)}\n")
    order = np.argsort(rows["metric"], kind="stable")
    for start in range(0, whole, _CHUNK):
        for row in rows[order[start : start + _CHUNK]]:
            pairs = list((dict(run) | dict(zip(family.labels, metrics[int(row["metric"])], strict=True))).items())
            stamp = f"{float(row['time']):.3f}"
            for name, value in _samples(family, pairs, row["values"].tolist()):
                out.write(f"{name} {_number(value)} {stamp}\n")


def _samples(family: Family, pairs: list[tuple[str, str]], values: list[float]) -> Iterator[tuple[str, float]]:
    """Sample names with their label sets, and the values that stand beside them."""
    match family.kind:
        case "histogram":
            for bound, value in zip((*family.buckets, float("inf")), values[:-1], strict=True):
                yield _series(f"{family.name}_bucket", [*pairs, ("le", _number(bound, canonical=True))]), value
            yield _series(f"{family.name}_count", pairs), values[-2]
            yield _series(f"{family.name}_sum", pairs), values[-1]
        case "stateset":
            for state, value in zip(family.states, values, strict=True):
                yield _series(family.name, [*pairs, (family.name, state)]), value
        case _:
            yield _series(family.series[0], pairs), values[0]


def _series(name: str, pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return name
    return name + "{" + ",".join(f'{label}="{_escape(value)}"' for label, value in pairs) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float, canonical: bool = False) -> str:
    if value == float("inf"):
        return "+Inf"
    if not canonical and value == int(value):
        return str(int(value))
    return repr(value)
