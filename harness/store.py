"""The run's folder: ``runs/<utc>-<name>-<id>/``. Everything a run learns is written here while it is learnt.

The folder is locked (flock) while its owner lives; ``harness clean`` and the watchdog tell a live run by that lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import DiskFull, EnvironmentProblem, RunNotFound
from harness.history import ENDED, FaultRecord, JournalEvent, Mark, event_to_json
from harness.scenario.plan import Plan
from harness.scenario.secrets import masked

LATEST = "latest"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_RESERVE = 256 * 1024  # bytes held back for what is written when the disk is full


class RunDir:
    """Paths and writers of one run. Made by ``create`` (for its owner) or ``open`` (for readers)."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self.run_id = run_id
        self._secrets: frozenset[str] = frozenset()
        self._lock_fd: int | None = None
        self._journal_fd: int | None = None
        self._writing = threading.Lock()
        self._ended = False

    # --- made ---

    @classmethod
    def create(cls, out: Path, plan: Plan) -> RunDir:
        """A fresh folder below ``out``, locked; ``out/latest`` points to it. Raises DiskFull or EnvironmentProblem."""
        run_id = secrets.token_hex(4)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run = cls(out / f"{stamp}-{plan.name}-{run_id}", run_id)
        run._secrets = plan.secrets
        try:
            for folder in (run.path, run.history, run.logs, run.final):
                folder.mkdir(parents=True, exist_ok=False)
            run._lock_fd = os.open(run.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(run._lock_fd, fcntl.LOCK_EX)
            run._journal_fd = os.open(run.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            run.write_text("plan.json", plan.model_dump_json(indent=1))
            run._reserve.write_bytes(b"\0" * _RESERVE)
            run._point_latest(out)
        except OSError as error:
            raise writing_failed(run.path, error) from error
        return run

    def _point_latest(self, out: Path) -> None:
        fresh = out / f".{LATEST}-{self.run_id}"
        fresh.symlink_to(self.path.name)
        fresh.replace(out / LATEST)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing folder, for reading. Raises RunNotFound."""
        real = path.resolve()
        if not (real / "plan.json").is_file():
            raise RunNotFound(
                "open run", f"{path} is no run folder", "name a folder below runs/, or run a scenario first"
            )
        return cls(real, real.name.rsplit("-", 1)[-1])

    @classmethod
    def find(cls, run: str | None, out: Path) -> RunDir:
        """A run by its folder or by the id at its end; without either the latest below ``out``. Raises RunNotFound."""
        if run is None:
            return cls.open(out / LATEST)
        found = [] if Path(run).exists() else sorted(out.glob(f"*-{run}"))
        return cls.open(found[-1] if found else Path(run))

    @classmethod
    def lives(cls, run_id: str, out: Path) -> bool:
        """Whether a run of this id below ``out`` holds the lock of its folder."""
        return any(cls(path, run_id).live() for path in out.glob(f"*-{run_id}"))

    # --- parts ---

    @property
    def _reserve(self) -> Path:
        return self.path / ".reserve"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def history(self) -> Path:
        return self.path / "history"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def children(self) -> Path:
        return self.path / "children.jsonl"

    def segment(self, process: str) -> Path:
        """Where the load process of this name writes its operations."""
        return self.history / f"ops-{process}.seg"

    # --- written ---

    def journal(self, event: JournalEvent) -> None:
        """Append one event; a fault's record is on disk (fsync) when this returns. Thread-safe. Raises DiskFull."""
        assert self._journal_fd is not None, "only the owner journals"
        text = event_to_json(event)
        if self._secrets:
            text = json.dumps(masked(json.loads(text), self._secrets), separators=(",", ":"))
        line = (text + "\n").encode()
        try:
            with self._writing:
                if os.write(self._journal_fd, line) < len(line):  # a regular file takes less when there is no room
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if isinstance(event, FaultRecord):
                os.fsync(self._journal_fd)
        except OSError as error:
            raise writing_failed(self.events, error) from error

    def journal_end(self, detail: Mapping[str, Any]) -> None:
        """Journal how the run ended; what was told first holds. Raises DiskFull, and may then be tried again."""
        if not self._ended:
            self.journal(Mark(time.monotonic_ns(), ENDED, detail))
            self._ended = True

    def write_text(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write one artefact whole or not at all. Raises DiskFull."""
        path = self.path / name
        fresh = path.with_name(f".{path.name}.new")
        try:
            fresh.write_text(text)
            fresh.chmod(mode)
            fresh.replace(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise writing_failed(path, error) from error
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write one artefact of plain data, secrets masked. Raises DiskFull."""
        text = json.dumps(value, indent=1, default=str)
        if self._secrets:
            text = json.dumps(masked(json.loads(text), self._secrets), indent=1)
        return self.write_text(name, text + "\n")

    def record_child(self, pid: int, role: str) -> None:
        """Note a process that has to end with the run; its start time keeps a reused pid from being hit."""
        line = json.dumps({"pid": pid, "start": process_start(pid), "role": role}) + "\n"
        with self._writing, self.children.open("a") as file:
            file.write(line)

    def release_reserve(self) -> None:
        """Make room for the last words of a run whose disk is full."""
        self._reserve.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back, and the space held in reserve."""
        self.release_reserve()
        for fd in (self._journal_fd, self._lock_fd):
            if fd is not None:
                os.close(fd)
        self._journal_fd = self._lock_fd = None

    # --- read ---

    def live(self) -> bool:
        """Whether a process holds the run's lock."""
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
        finally:
            os.close(fd)
        return False

    def plan(self) -> Plan:
        """The plan of the run. Raises RunNotFound when it cannot be read."""
        try:
            return Plan.model_validate_json((self.path / "plan.json").read_text())
        except (OSError, ValueError) as error:
            raise RunNotFound("read plan.json", str(error).splitlines()[0], node=self.path.name) from error

    def read_json(self, name: str) -> Any:
        """An artefact as JSON; None where it was never written."""
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return None

    def recorded_children(self) -> Iterator[tuple[int, str]]:
        """(pid, role) of the children noted that still live under the same start time."""
        try:
            lines = self.children.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            try:
                child = json.loads(line)
                pid, start, role = int(child["pid"]), str(child["start"]), str(child["role"])
            except (ValueError, KeyError, TypeError):
                continue  # torn by a SIGKILL in the middle of a write
            if process_start(pid) == start != "":
                yield pid, role


def process_start(pid: int) -> str:
    """The kernel's start time of a process (clock ticks since boot), empty when it is gone.

    One that has ended counts as gone, even where nobody has asked for its exit status yet.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return ""


def anchors() -> dict[str, int]:
    """Monotonic and wall clock read together, so that a reader of the files can date monotonic times."""
    return {"monotonic_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}


def writing_failed(path: Path, error: OSError) -> EnvironmentProblem:
    """What an OSError while writing an artefact means to a person: DiskFull, or the path and the reason."""
    if error.errno in NO_SPACE:
        return DiskFull("write run folder", f"no space left for {path}", "free some space or use --out DIR")
    return EnvironmentProblem("write run folder", f"{path}: {error.strerror}", "use --out DIR for another place")
