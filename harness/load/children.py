"""The Locust processes of a run: how they are begun, watched and ended. What is said to them is ``launch``'s business.

Each lives in a session of its own, so that a Ctrl-C on the terminal reaches the run's owner only, and each holds one
end of a socket whose other end is the owner's: it ends with the owner, because the socket closes then.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from harness.store import RunDir

CHANNEL_FD: Final = "HARNESS_CHANNEL_FD"  # environment of the master: its socket to the owner
LIFELINE_FD: Final = "HARNESS_LIFELINE_FD"  # environment of a worker: closed when the owner is gone
WORKER_INDEX: Final = "HARNESS_WORKER_INDEX"  # environment of a worker on this machine: 1, 2, ...

_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")


class Children:
    """``on_end`` is told name and exit code (negative: the signal) of each that ends, at once, in a thread."""

    def __init__(self, rundir: RunDir, locustfile: str | None, on_end: Callable[[str, int], None]) -> None:
        self._rundir = rundir
        self._files = [str(_LOCUSTFILE), *([str(Path(locustfile).resolve())] if locustfile is not None else [])]
        self._on_end = on_end
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: list[threading.Thread] = []

    def begin(self, name: str, options: Sequence[str], fd_variable: str, **environment: str) -> socket.socket:
        """Start ``locust OPTIONS``; returns our end of a socket; ``fd_variable`` tells it the other. OSError."""
        ours, theirs = socket.socketpair()
        with log_of(self._rundir, name).open("ab") as output, theirs:
            child = subprocess.Popen(
                locust("-f", ",".join(self._files), "--only-summary", *options),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment() | {fd_variable: str(theirs.fileno())} | environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._processes[name] = child
        watcher = threading.Thread(target=lambda: self._on_end(name, child.wait()), daemon=True)
        self._watchers.append(watcher)
        watcher.start()
        self._rundir.record_child(child.pid, f"locust-{name}")
        return ours

    def alive(self, name: str) -> bool:
        child = self._processes.get(name)
        return child is not None and child.poll() is None

    def end(self, deadline: float) -> None:
        """Wait for all until ``deadline`` (monotonic s), then kill; ``on_end`` has returned for each."""
        for child in self._processes.values():
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for watcher in self._watchers:
            watcher.join()


def log_of(rundir: RunDir, name: str) -> Path:
    """What a child says to whoever looks at its terminal."""
    return rundir.logs / f"locust-{name}.log"


def locust(*options: str) -> list[str]:
    """The command of a Locust process with this Python."""
    return [sys.executable, "-m", "locust", *options]


def child_environment() -> dict[str, str]:
    """Ours without Locust's own variables (they would override what we ask for), and with this package in reach."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    return environment
