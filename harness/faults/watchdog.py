"""The process that outlives a SIGKILLed run: ``python -m harness.faults.watchdog RUN_DIR``, its pipe on stdin.

The owner of a run holds the other end of the pipe. When that closes without the line ``done`` before it, the owner is
gone, however it went: its Locust children are killed, its containers and networks removed, and the journal says so.
The artefacts stay. Cuts go with the containers whose namespaces they are in; should a removal fail, their elements
expire in the kernel all the same. If this process is killed as well, ``harness clean`` removes what is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:  # an idle watchdog holds none of the heavy rooms in memory; it imports them when it has to act
    from harness.cluster.engine import Engine
    from harness.store import RunDir

_DONE = b"done"
_LONGEST = 1024  # bytes of an unfinished line worth keeping
_LOG = "watchdog.log"


class Watchdog:
    """The owner's handle. ``done()`` lets the watchdog go; without it, it acts as soon as this process is gone."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process

    def done(self, timeout: float = 5.0) -> None:
        """The run has cleaned up after itself. Idempotent."""
        pipe = self._process.stdin
        assert pipe is not None
        if not pipe.closed:
            with contextlib.suppress(BrokenPipeError):  # somebody killed it: then there is nobody to tell
                pipe.write(_DONE + b"\n")
                pipe.flush()
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)


def start_watchdog(rundir: RunDir, engine: Engine | None = None) -> Watchdog:
    """Start the watchdog of a run in a session of its own; it finds the same engine as this process did."""
    environ = dict(os.environ)
    if engine is not None:
        environ["DOCKER_HOST"] = engine.endpoint.url
        if engine.endpoint.tls is not None:
            environ |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(engine.endpoint.tls)}
    package_parent = str(Path(__file__).parents[2])
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package_parent, environ.get("PYTHONPATH")]))
    with (rundir.logs / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.faults.watchdog", str(rundir.path.resolve())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environ,
        )
    return Watchdog(process)


def owner_ended_well(pipe: IO[bytes]) -> bool:
    """Wait until the pipe closes; whether the last whole line in it was ``done``. Anything else is ignored."""
    said, tail = False, b""
    while data := os.read(pipe.fileno(), 65536):
        *lines, tail = (tail + data).split(b"\n")
        said = said or _DONE in (line.strip() for line in lines)
        tail = tail[-_LONGEST:]
    return said


def clean_up(rundir: RunDir) -> dict[str, object]:
    """Kill the children, then remove the run's containers and networks. Returns what was done, in words.

    The children come first: load on nodes that vanish would only fill the disk with failed operations.
    """
    from harness.cluster.engine import find_engine
    from harness.cluster.sweep import remove_run
    from harness.errors import HarnessError

    killed = []
    for pid, role in rundir.recorded_children():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(f"{role} {pid}")
    told: dict[str, object] = {"killed": killed}
    try:
        engine = find_engine()
        try:
            told["removed"] = str(remove_run(engine, rundir.run_id)) or "nothing"
        finally:
            engine.close()
    except HarnessError as error:
        told["error"] = str(error)
    return told


def journal(rundir: RunDir, detail: dict[str, object]) -> None:
    """One line more in the owner's journal, on a line of its own even if the owner died in the middle of one."""
    from harness.history import Mark, event_to_json

    fd = os.open(rundir.events, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        line = event_to_json(Mark(time.monotonic_ns(), "watchdog", detail)) + "\n"
        os.write(fd, (("\n" if torn else "") + line).encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def main(arguments: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if owner_ended_well(sys.stdin.buffer):
        return 0
    from harness.errors import HarnessError
    from harness.store import RunDir

    started = time.monotonic()
    try:
        rundir = RunDir.open(Path(arguments[0]))
        told = clean_up(rundir)
        journal(rundir, {"reason": "the owner is gone", **told, "seconds": round(time.monotonic() - started, 3)})
    except (HarnessError, OSError) as error:
        print(f"watchdog: {error}", file=sys.stderr)
        return 4
    return 4 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
