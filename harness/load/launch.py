"""Load from the orchestrator's side: Locust's master and workers as child processes, and a socket to the master."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from harness.dist.tls import Credentials
from harness.errors import DiskFull, HarnessError, InternalError, LoadFailed
from harness.history import Mark
from harness.load.channel import Channel
from harness.load.children import CHANNEL_FD, LIFELINE_FD, WORKER_INDEX, Children, log_of
from harness.load.client import Target
from harness.load.remote import MASTER_PORT
from harness.load.worker import Endpoint
from harness.load.workload import shares
from harness.scenario.plan import Plan
from harness.store import RunDir

_GRACE: Final = 3.0  # s for children to exit once all is said


class LoadRun:
    """Load of one plan against targets. ``on_snapshot`` and ``on_event`` are called in threads of this object.

    ``remote_workers`` more are waited for, which join with ``remote.run_worker`` through ``bind`` and dial the same
    ``targets``.
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
        on_event: Callable[[Mark], None] = lambda event: None,
        remote_workers: int = 0,
        bind: str = "127.0.0.1",
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
        self._job: dict[str, Any] = {
            "load": plan.load.model_dump(mode="json"),
            "targets": [_endpoint(target) for target in targets],
            "seed": plan.seed,
            "ticktime": plan.kernel.net_ticktime,
            "tls": plan.tls,
            "workers": plan.load.workers,
            "remote_workers": remote_workers,
            "history": str(rundir.history.resolve()),
        }
        self._children = Children(rundir, plan.load.locustfile, self._child_ended)
        self._channel: Channel | None = None
        self._listener: threading.Thread | None = None
        self._lifelines: list[socket.socket] = []
        self._changed = threading.Condition()  # around all below
        self._workers: set[str] = set()  # those that drive load
        self._full_load: int | None = None
        self._trouble: HarnessError | None = None
        self._done = False  # the master has said so
        self._stopping = False
        self._stopped = False

    # --- life ---

    def start(self) -> None:
        """Start the children; load begins by itself when all are ready. Raises UsageError, LoadFailed."""
        load = self._plan.load
        if load.operations:
            shares(load.operations, [t["node"] for t in self._job["targets"]], load.users)
        port = _free_port(self._bind, MASTER_PORT if self._job["remote_workers"] else 0)
        self.master = f"{self._bind}:{port}"
        try:
            self._start_master(port)
            for index in range(1, load.workers + 1):
                self._start_worker(index, port)
        except OSError as error:
            self.stop(0)
            raise LoadFailed("start load", str(error)) from error

    def _start_master(self, port: int) -> None:
        load = self._plan.load
        rate = load.users / load.ramp if load.locustfile and load.ramp else load.users
        options = [
            "--master", f"--master-bind-host={self._bind}", f"--master-bind-port={port}",
            f"--expect-workers={load.workers + self._job['remote_workers']}",
            f"--users={load.users}", f"--spawn-rate={rate:g}", "--stop-timeout=1", "--exit-code-on-error=0",
        ]  # fmt: skip
        if self._web:
            web = _free_port("127.0.0.1")
            options += ["--autostart", "--web-host=127.0.0.1", f"--web-port={web}"]
            self.web_url = f"http://127.0.0.1:{web}/"
        else:
            options.append("--headless")
        self._channel = Channel(self._children.begin("master", options, CHANNEL_FD))
        self._channel.send(self._job)
        self._listener = threading.Thread(target=self._listen, args=(self._channel,), daemon=True)
        self._listener.start()

    def _start_worker(self, index: int, port: int) -> None:
        host = "127.0.0.1" if self._bind in ("0.0.0.0", "*") else self._bind
        options = ["--worker", f"--master-host={host}", f"--master-port={port}"]
        environment = {WORKER_INDEX: str(index), "HARNESS_COOKIE": self._cookie}
        if self._tls is not None:
            environment["HARNESS_TLS"] = self._tls.told()
        self._workers.add(f"w{index}")
        self._lifelines.append(self._children.begin(f"w{index}", options, LIFELINE_FD, **environment))

    def wait_full_load(self, timeout: float = 60.0) -> int:
        """When load was full (all users and workers there, ramp over), monotonic ns; waits until then.

        Raises LoadFailed or DiskFull.
        """
        deadline = time.monotonic() + timeout + self._plan.load.ramp
        with self._changed:
            self._changed.wait_for(lambda: self._full_load is not None or self._trouble, deadline - time.monotonic())
            if self._trouble:
                raise self._trouble
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
            return self._trouble

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
                self._changed.wait_for(
                    lambda: self._done or not self._children.alive("master"), deadline - time.monotonic()
                )
        if not self._done:
            self._release()
        self._children.end(deadline)
        if self._channel is not None:
            self._channel.close()
        if self._listener is not None:
            self._listener.join()
        self._release()
        self._stopped = True

    def _release(self) -> None:
        """Let the workers see that they are to end, whatever the master says."""
        for lifeline in self._lifelines:
            lifeline.close()

    # --- what happens meanwhile ---

    def _listen(self, channel: Channel) -> None:
        for message in channel:
            with self._noticed():
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
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

    def _heard(self, event: Mark) -> None:
        self._on_event(event)
        detail = event.detail
        match event.name:
            case "worker_joined" | "worker_returned":
                with self._changed:
                    self._workers.add(detail["worker"])
            case "worker_silent" | "worker_lost":
                self._miss(detail["worker"], f"no worker is left ({detail['worker']}: {detail['cause']})")
            case "disk_full":
                cause = f"load process {detail['worker']}: {detail['cause']}"
                self._fail(DiskFull("write history", cause, "free some space or use --out DIR"))
            case "load_problem":
                self._fail(LoadFailed("start load", str(detail["cause"])))

    def _child_ended(self, name: str, code: int) -> None:
        with self._changed:
            expected = self._stopping or self._done
            self._changed.notify_all()
        if expected:
            return
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        log = log_of(self._rundir, name)
        told = f"Locust process {name} ended: {cause}" + (f" ({_last_words(log)})" if code > 0 else "")
        if name == "master" or self._full_load is None:
            self._fail(LoadFailed("load", told, f"see {log}"))
            return
        detail = {"worker": name, "exit_code": code, "cause": cause, "log": f"logs/{log.name}"}
        with self._noticed():
            self._on_event(Mark(time.monotonic_ns(), "worker_lost", detail))
        if self._channel is not None:
            self._channel.send({"cmd": "lost", "worker": name})
        self._miss(name, told, f"see {log}")

    def _miss(self, worker: str, told: str, remedy: str = "") -> None:
        """A worker drives nothing any more; others go on if there are any."""
        with self._changed:
            self._workers.discard(worker)
            alone = not self._workers and self._full_load is not None
        if alone:
            self._fail(LoadFailed("load", told, remedy))

    @contextlib.contextmanager
    def _noticed(self) -> Iterator[None]:
        """These threads are nobody's: an error in one of them ends the run instead of the thread."""
        try:
            yield
        except Exception as error:
            self._fail(error if isinstance(error, HarnessError) else InternalError(error))

    def _fail(self, error: HarnessError) -> None:
        """The first of them is what the run ends with."""
        with self._changed:
            self._trouble = self._trouble or error
            self._changed.notify_all()


def _last_words(log: Path) -> str:
    """What a process that ended with an error said last: of a traceback the error itself."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "without a word"
    return "its log cannot be read"


def _endpoint(target: Target) -> dict[str, Any]:
    return asdict(Endpoint(target.node, target.node_name, target.host, target.port))


def _free_port(host: str, wanted: int = 0) -> int:
    """A port of this address that nobody listens on: the wanted one where it is free. Raises OSError."""
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
