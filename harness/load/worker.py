"""A worker's side of the run: takes the plan from the master, drives, sends figures and history back.

Knows Locust only as ``send(type, data)``; the same for a worker on this machine and on another one. Messages are
described in docs/load.md.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.dist import Runtime
from harness.dist.tls import Credentials
from harness.errors import DiskFull, HarnessError
from harness.load.client import Link, Recorder, Session
from harness.load.driver import Driver
from harness.load.snapshot import Meter, Stats
from harness.load.workload import shares
from harness.scenario.plan import PlannedLoad
from harness.segments import Segment

_CONNECT_WITHIN: Final = 15.0  # s for the first connection to each node
_CHUNK: Final = 1 << 18  # bytes of a segment in one message
_ERRORS: Final = 5  # different errors of users' own code that are told

Send = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Target as it travels: scenario name, Erlang name, where to dial (port 0: ask EPMD)."""

    node: str
    node_name: str
    host: str
    port: int


class Clock:
    """CLOCK_MONOTONIC of the master's machine: our own, moved by the offset the master has measured."""

    def __init__(self) -> None:
        self.offset = 0

    def __call__(self) -> int:
        return time.monotonic_ns() + self.offset


class Worker:
    """One worker process. ``index`` 0: the master gives a number (a worker that joined from elsewhere)."""

    def __init__(
        self, send: Send, runtime: Runtime, cookie: str, index: int = 0, credentials: Credentials | None = None
    ) -> None:
        self.name = ""
        self.driver: Driver | None = None
        self.stats = Stats()
        self.meter = Meter()
        self.clock = Clock()
        self.ended = False
        self.stop_users: Callable[[float], None] = lambda timeout: None  # Locust's way, for a locustfile's users
        self._send = send
        self._runtime = runtime
        self._cookie = cookie
        self._credentials = credentials
        self._index = index
        self._links: list[Link] = []
        self._recorder: Recorder | None = None
        self._shipping: Path | None = None  # the segment, where the master cannot read it from disk
        self._shipped: dict[str, int] = {}
        self._users = itertools.count()
        self._first_user = 0
        self._errors: set[str] = set()

    def hello(self) -> None:
        self._send("harness_hello", {"index": self._index, "pid": os.getpid(), "boot": boot_id()})

    # --- what the master says ---

    def on_plan(self, data: dict[str, Any]) -> None:
        """Open the segment, connect to every node, say ready (or what is wrong)."""
        self.name, self._index = data["name"], data["index"]
        load = PlannedLoad.model_validate(data["load"])
        try:
            recorder = self._recorder = Recorder(
                self.stats, self._index, Segment(self._segment(data["segment"])), self.clock, self._on_disk_full
            )
        except OSError as error:
            self._send("harness_ready", {"problems": [f"{self.name}: history cannot be written: {error.strerror}"]})
            return
        if data["tls"] and self._credentials is None:
            cause = "the cluster's distribution is over TLS, and this worker has no certificate: --tls FOLDER"
            self._send("harness_ready", {"problems": [f"{self.name}: {cause}"]})
            return
        tls = self._credentials.client_context() if data["tls"] and self._credentials else None
        targets = [Endpoint(**target) for target in data["targets"]]
        self._links = [
            Link(
                target,
                local=f"harness-{self.name}@harness",
                cookie=self._cookie,
                runtime=self._runtime,
                ticktime=data["ticktime"],
                tls=tls,
                before_write=recorder.flush,
            )
            for target in targets
        ]
        self._first_user = data["first_user"]
        problems: list[str] = []
        try:
            for link in self._links:
                link.opened(_CONNECT_WITHIN)
            if load.operations:
                self.driver = Driver(
                    load,
                    shares(load.operations, [t.node for t in targets], load.users),
                    {link.target.node: link for link in self._links},
                    recorder,
                    self.meter,
                    self._runtime,
                    f"{data['seed']}:{self._index}",
                )
        except HarnessError as error:
            problems.append(f"{self.name}: {error}")
        self._runtime.spawn(self._tick, "snapshots")
        self._send("harness_ready", {"problems": problems})

    def _segment(self, path: str | None) -> Path:
        if path is not None:
            return Path(path)
        self._shipping = Path(tempfile.mkdtemp(prefix="harness-")) / f"ops-{self.name}.seg"
        return self._shipping

    def on_clock(self, data: dict[str, Any]) -> None:
        self._send("harness_clock", {"asked": data["asked"], "here": time.monotonic_ns()})

    def on_go(self, data: dict[str, Any]) -> None:
        self.clock.offset = data["offset"]
        if self.driver is not None:
            self.driver.go(data["begin"], data["placed"], data["parts"], data["workers"])

    def on_stop(self, data: dict[str, Any]) -> None:
        """Let running calls end, write everything, say done."""
        self.end(data["timeout"])
        self._send("harness_done", {"name": self.name})

    def end(self, timeout: float) -> None:
        """Stop offering, wait up to ``timeout`` seconds for calls that run, close links and history."""
        if self.ended:
            return
        self.ended = True
        if self.driver is not None:
            self.driver.stop(timeout)
        else:
            self.stop_users(timeout)
        for link in self._links:
            link.close()
        if self._recorder is not None:
            self._recorder.close()
            self.report()

    # --- users of a locustfile of one's own ---

    def session(self) -> Session:
        """A logical user of the next node, round robin."""
        assert self._recorder is not None, "users are spawned after the plan has come"
        number = self._first_user + next(self._users)
        return Session(self._links[number % len(self._links)], self._recorder)

    def user_failed(self, user: str, error: BaseException) -> None:
        """A user's own code has raised ``error``; each kind is told once. What it says of the target nobody knows."""
        kind = f"{user}: {type(error).__name__}"
        if kind in self._errors or len(self._errors) >= _ERRORS or self.ended:
            return
        self._errors.add(kind)
        said = next(iter(str(error).splitlines()), "")
        self._event("load_failed", f"{kind}: {said[:200]}" if said else kind)

    # --- what we say ---

    def broken(self, error: Exception) -> None:
        """A defect of ours, or a master of another version: nobody else would hear of it."""
        self._event("load_problem", f"{self.name or 'worker'}: {type(error).__name__}: {error}")

    def _tick(self) -> None:
        parker = self._runtime.parker()
        while not self.ended:
            parker.park(1.0)
            if not self.ended:
                try:
                    self.report()
                except Exception as error:  # no figures and no history would come any more
                    self.broken(error)
                    raise

    def report(self) -> None:
        """Send of a segment that only we can read what is new in it, then the figures: what they count is recorded."""
        self.meter.measure()
        if self._recorder is not None:
            with suppress(DiskFull):  # told by the recorder
                self._recorder.flush()
            if self._shipping is not None:
                for path in (self._shipping.with_suffix(".words"), self._shipping):
                    self._ship(path)
        self._send("harness_snapshot", self.stats.snapshot(self.name, self.clock(), self.meter.to_json()))

    def _ship(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._shipped.get(path.name, 0))
            while data := file.read(_CHUNK):
                self._send("harness_segment", {"file": path.name, "data": data})
                self._shipped[path.name] = file.tell()

    def _on_disk_full(self, error: OSError) -> None:
        self._event("disk_full", error.strerror or str(error))
        if self.driver is not None:
            self.driver.halt()

    def _event(self, name: str, cause: str) -> None:
        self._send("harness_event", {"name": name, "detail": {"worker": self.name, "cause": cause}})


def boot_id() -> str:
    """Tells machines (and boots) apart: CLOCK_MONOTONIC is one clock within it. Empty where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
