"""Load from the orchestrator's side: Locust's master and workers as child processes, and a socket to the master.

The children live in sessions of their own, so that a Ctrl-C on the terminal reaches the run's owner only. They end
with the owner: the master when the socket to it closes, the workers when the master says so or their own lifeline
closes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from harness.dist.tls import Credentials
from harness.errors import DiskFull, HarnessError, LoadFailed, UsageError
from harness.history import Mark
from harness.load.channel import Channel
from harness.load.client import Target
from harness.load.worker import Endpoint
from harness.load.workload import shares
from harness.scenario.plan import Plan
from harness.store import RunDir

CHANNEL_FD: Final = "HARNESS_CHANNEL_FD"  # environment of the master: its socket to the owner
LIFELINE_FD: Final = "HARNESS_LIFELINE_FD"  # environment of a worker: closed when the owner is gone
WORKER_INDEX: Final = "HARNESS_WORKER_INDEX"  # environment of a worker on this machine: 1, 2, ...

MASTER_PORT: Final = 5557  # Locust's own, where a worker looks that was given a host alone

_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
_GRACE: Final = 3.0  # s for children to exit once all is said

LoadEvent = Mark


class LoadRun:
    """Load of one plan against targets. ``on_snapshot`` and ``on_event`` are called in threads of this object.

    ``remote_workers`` more are waited for, which join with ``run_worker`` through ``bind``:``port`` and dial
    ``remote_targets``.
    """

    def __init__(
        self,
        plan: Plan,
        targets: Sequence[Target],
        cookie: str,
        rundir: RunDir,
        *,
        web: bool = False,
        on_snapshot: Callable[[dict[str, Any]], None] = lambda snapshot: None,
        on_event: Callable[[LoadEvent], None] = lambda event: None,
        remote_workers: int = 0,
        remote_targets: Sequence[Target] = (),
        bind: str = "127.0.0.1",
        port: int = 0,
        tls: Credentials | None = None,
    ) -> None:
        self.web_url: str | None = None
        self.master: str = ""  # HOST:PORT that workers join
        self._plan = plan
        self._cookie = cookie
        self._tls = tls
        self._rundir = rundir
        self._web = web
        self._on_snapshot = on_snapshot
        self._on_event = on_event
        self._bind = bind
        self._port = port
        self._job: dict[str, Any] = {
            "load": plan.load.model_dump(mode="json"),
            "targets": [_endpoint(target) for target in targets],
            "remote_targets": [_endpoint(target) for target in remote_targets or targets],
            "seed": plan.seed,
            "ticktime": plan.kernel.net_ticktime,
            "tls": plan.tls,
            "workers": plan.load.workers,
            "remote_workers": remote_workers,
            "history": str(rundir.history.resolve()),
        }
        self._channel: Channel | None = None
        self._lifelines: list[socket.socket] = []
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._full_load: int | None = None
        self._trouble: list[HarnessError] = []
        self._lost: set[str] = set()
        self._done = False
        self._stopping = False
        self._stopped = False

    # --- life ---

    def start(self) -> None:
        """Start the children; load begins by itself when all are ready. Raises UsageError, LoadFailed."""
        load = self._plan.load
        if load.operations:
            shares(load.operations, [t["node"] for t in self._job["targets"]], load.users)
        wanted = MASTER_PORT if self._job["remote_workers"] else 0
        port = self._port or _free_port(self._bind, wanted)
        self.master = f"{self._bind}:{port}"
        try:
            self._start_master(port)
            for index in range(1, load.workers + 1):
                self._start_worker(index, port)
        except OSError as error:
            self.stop(0)
            raise LoadFailed("start load", str(error)) from error

    def _start_master(self, port: int) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        web = _free_port("127.0.0.1")
        users = self._plan.load.users
        rate = users / self._plan.load.ramp if self._plan.load.locustfile and self._plan.load.ramp else users
        options = [
            "--master", f"--master-bind-host={self._bind}", f"--master-bind-port={port}",
            f"--expect-workers={self._plan.load.workers + self._job['remote_workers']}",
            f"--users={users}", f"--spawn-rate={rate:g}", "--stop-timeout=1", "--exit-code-on-error=0",
            *(["--autostart", "--web-host=127.0.0.1", f"--web-port={web}"] if self._web else ["--headless"]),
        ]  # fmt: skip
        self._spawn("master", options, theirs, CHANNEL_FD, {})
        if self._web:
            self.web_url = f"http://127.0.0.1:{web}/"
        self._channel.send(self._job)
        self._thread(self._listen, self._channel)

    def _start_worker(self, index: int, port: int) -> None:
        ours, theirs = socket.socketpair()
        self._lifelines.append(ours)
        host = "127.0.0.1" if self._bind in ("0.0.0.0", "*") else self._bind
        options = ["--worker", f"--master-host={host}", f"--master-port={port}"]
        extra = {WORKER_INDEX: str(index), "HARNESS_COOKIE": self._cookie}
        extra |= {"HARNESS_TLS": self._tls.told()} if self._tls else {}
        self._spawn(f"w{index}", options, theirs, LIFELINE_FD, extra)

    def _spawn(
        self, name: str, options: Sequence[str], theirs: socket.socket, fd_name: str, extra: dict[str, str]
    ) -> None:
        files = [str(_LOCUSTFILE)]
        if self._plan.load.locustfile is not None:
            files.append(str(Path(self._plan.load.locustfile).resolve()))
        environment = child_environment() | {fd_name: str(theirs.fileno())} | extra
        command = [sys.executable, "-m", "locust", "-f", ",".join(files), "--only-summary", *options]
        log = self._rundir.logs / f"locust-{name}.log"
        with log.open("ab") as output, theirs:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._rundir.record_child(child.pid, f"locust-{name}")
        self._children[name] = child
        self._thread(self._mourn, name, child)

    def wait_full_load(self, timeout: float = 60.0) -> int:
        """When load was full (all users and workers there, ramp over), monotonic ns; waits until then.

        Raises LoadFailed or DiskFull.
        """
        deadline = time.monotonic() + timeout + self._plan.load.ramp
        with self._changed:
            self._changed.wait_for(lambda: self._full_load is not None or self._trouble, deadline - time.monotonic())
            if self._trouble:
                raise self._trouble[0]
            if self._full_load is None:
                cause = f"not all workers and users were there within {timeout:g} s"
                raise LoadFailed("start load", cause, f"see {self._rundir.logs}/locust-*.log")
        while (left := self._full_load / 1e9 - time.monotonic()) > 0:
            trouble = self.wait_trouble(left)
            if trouble is not None:
                raise trouble
        return self._full_load

    def wait_trouble(self, timeout: float) -> HarnessError | None:
        """What makes going on pointless (DiskFull, LoadFailed), as soon as it is so; None after ``timeout`` s."""
        with self._changed:
            self._changed.wait_for(lambda: self._trouble, timeout)
            return self._trouble[0] if self._trouble else None

    def poll(self) -> bool:
        """Whether the master and at least one worker live."""
        alive = {name for name, child in self._children.items() if child.poll() is None}
        return "master" in alive and len(alive) > 1

    def stop(self, timeout: float = 10.0) -> None:
        """End load: calls in flight get ``timeout`` seconds, then the children are killed.

        Safe to repeat; after an interrupted one the next begins again.
        """
        with self._changed:
            if self._stopped:
                return
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout + _GRACE
        if self._channel is not None:
            self._channel.send({"cmd": "stop", "timeout": timeout})
            with self._changed:
                self._changed.wait_for(lambda: self._done or "master" in self._lost, deadline - time.monotonic())
        for lifeline in self._lifelines if not self._done else ():
            lifeline.close()
        for child in self._children.values():
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._channel is not None:
            self._channel.close()
        for lifeline in self._lifelines:
            lifeline.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._stopped = True

    # --- listening ---

    def _thread(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, channel: Channel) -> None:
        for message in channel:
            match message["type"]:
                case "snapshot":
                    self._on_snapshot(message["snapshot"])
                case "event":
                    self._heard(Mark(message["time"], message["name"], message["detail"]))
                case "full_load":
                    with self._changed:
                        self._full_load = message["time"]
                        self._changed.notify_all()
                case "done":
                    with self._changed:
                        self._done = True
                        self._changed.notify_all()

    def _heard(self, event: LoadEvent) -> None:
        detail = event.detail
        match event.name:
            case "disk_full":
                cause = f"load process {detail['worker']}: {detail['cause']}"
                self._fail(DiskFull("write history", cause, "free some space or use --out DIR"))
            case "load_problem":
                self._fail(LoadFailed("start load", str(detail["cause"])))
        self._on_event(event)

    def _mourn(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Notice at once when a child ends that was not told to."""
        code = child.wait()
        with self._changed:
            expected = self._stopping or self._done
            self._lost.add(name)
            self._changed.notify_all()
        if expected:
            return
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        log = f"logs/locust-{name}.log"
        self._on_event(
            Mark(time.monotonic_ns(), "worker_lost", {"worker": name, "exit_code": code, "cause": cause, "log": log})
        )
        if name != "master" and self._channel is not None:
            self._channel.send({"cmd": "lost", "worker": name})
        if name == "master" or self._full_load is None or not self.poll():
            remedy = f"see {self._rundir.logs / Path(log).name}"
            self._fail(LoadFailed("load", f"Locust process {name} ended: {cause}", remedy))

    def _fail(self, error: HarnessError) -> None:
        with self._changed:
            self._trouble.append(error)
            self._changed.notify_all()


def run_worker(master: str, cookie: str = "", tls: str = "") -> int:
    """Be a Locust worker of a run elsewhere, until its master ends it; returns the exit code.

    ``master`` is HOST:PORT as the run printed it, or HOST where the run has Locust's own port. Operations, targets,
    seeds and a locustfile come from the master; the cookie from here or the environment (HARNESS_COOKIE), and so the
    folder of certificates for a cluster with TLS (HARNESS_TLS). History is sent to the master every second. Raises
    UsageError.
    """
    host, port = master_address(master)
    environment = child_environment()
    if cookie:
        environment["HARNESS_COOKIE"] = cookie
    if folder := tls or environment.get("HARNESS_TLS", ""):
        environment["HARNESS_TLS"] = Credentials.given(folder).told()  # a mistake is told here, not in Locust's log
    command = [sys.executable, "-m", "locust", "-f", "-", "--worker", f"--master-host={host}", f"--master-port={port}"]
    with tempfile.TemporaryDirectory(prefix="harness-worker-") as folder:  # locustfiles, the segment until it is sent
        return subprocess.call(command, env=environment | {"TMPDIR": folder})


def master_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``HOST`` -> both. Raises UsageError."""
    found = re.fullmatch(r"([^\s:/]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", text)
    port = int(found[2] or MASTER_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UsageError("worker", f"{text!r} is no master", "write --master HOST or --master HOST:PORT")
    return found[1].strip("[]"), port


def child_environment() -> dict[str, str]:
    """Ours without Locust's own variables (they would override what we ask for), and with this package in reach."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    return environment


def _endpoint(target: Target) -> dict[str, Any]:
    return asdict(Endpoint(target.node, target.node_name, target.host, target.port))


def _free_port(host: str, wanted: int = 0) -> int:
    """A port of this address that nobody listens on: the wanted one where it is free."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the master will: no waiting for old ones
        try:
            probe.bind(("" if host == "*" else host, wanted))
        except OSError as error:
            if not wanted or error.errno != errno.EADDRINUSE:
                raise
            return _free_port(host)
        port: int = probe.getsockname()[1]
        return port
