"""The master's side of the run: hands the plan to workers, begins when all are ready, passes figures on, ends.

Knows Locust only through ``Runner``; between the owner (a Channel) and the workers (Locust's messages) it merges
nothing. In the master process ``threading`` is gevent's.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from harness.load.channel import Channel
from harness.load.worker import boot_id
from harness.load.workload import part_of, place, shares
from harness.scenario.plan import PlannedLoad

_HEADSTART: Final = 50_000_000  # ns between "go" and the first arrival, so that all workers have heard it
_PINGS: Final = 10
_USERS_WITHIN: Final = 30.0  # s for workers to report all their users


class Runner(Protocol):
    """What is needed of Locust's master runner."""

    def send(self, type: str, data: dict[str, Any], client_id: str) -> None: ...
    def users_of(self, client_id: str) -> int: ...
    def hears(self, client_id: str) -> bool:
        """Whether the worker's heartbeat comes."""
        ...

    def knows(self, client_id: str) -> bool:
        """False once the worker has said goodbye, or was given up after a minute without heartbeat."""
        ...

    def quit(self) -> None: ...


@dataclass(slots=True)
class _Peer:
    """A worker as the master knows it. ``offset``: its clock minus ours, ns, known up to ``error``.

    ``silent`` it may come back, ``gone`` it does not.
    """

    client_id: str
    name: str
    index: int
    local: bool
    pid: int
    ready: bool = False
    done: bool = False
    silent: bool = False
    gone: bool = False
    offset: int = 0
    error: int = 0
    pings: list[tuple[int, int]] = field(default_factory=list)  # (round trip, offset)

    @property
    def here(self) -> bool:
        return not (self.silent or self.gone)


class Coordinator:
    """Made with the job, the owner's first line (see LoadRun)."""

    def __init__(self, channel: Channel, job: dict[str, Any], runner: Runner) -> None:
        self.load = PlannedLoad.model_validate(job["load"])
        self._channel = channel
        self._job = job
        self._runner = runner
        self._peers: dict[str, _Peer] = {}
        self._began = False
        self._stopping = False
        self._halted = False  # Locust has ended the test before we did
        self._changed = threading.Condition()

    @property
    def expected(self) -> int:
        return int(self._job["workers"]) + int(self._job["remote_workers"])

    def start(self) -> None:
        threading.Thread(target=self._obey, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def wait_ready(self) -> bool:
        """Until every expected worker has connected to every node; False when the run was stopped before."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or sum(p.ready and p.here for p in self._peers.values()) >= self.expected
            )
            return not self._stopping

    # --- from workers ---

    def on_hello(self, client_id: str, data: dict[str, Any]) -> None:
        if client_id in self._peers:
            return
        if self._began or sum(p.here for p in self._peers.values()) >= self.expected:
            cause = "load has begun" if self._began else f"{self.expected} worker(s) are here already"
            self._runner.send("harness_refused", {"cause": cause}, client_id)
            return
        local = data["index"] > 0
        index = data["index"] or max([self._job["workers"], *(p.index for p in self._peers.values())]) + 1
        peer = _Peer(client_id, f"w{index}", index, local, data["pid"])
        self._peers[client_id] = peer
        self._event("worker_joined", worker=peer.name, pid=peer.pid, local=local)
        plan = {
            "name": peer.name,
            "index": index,
            "load": self._job["load"],
            "targets": self._job["targets"],
            "seed": self._job["seed"],
            "ticktime": self._job["ticktime"],
            "tls": self._job["tls"],
            "segment": str(self._history(f"ops-{peer.name}.seg")) if local else None,
            "first_user": (index - 1) * -(-self.load.users // self.expected),
        }
        self._runner.send("harness_plan", plan, client_id)
        if data["boot"] != boot_id() or not data["boot"]:
            self._runner.send("harness_clock", {"asked": time.monotonic_ns()}, client_id)

    def on_clock(self, client_id: str, data: dict[str, Any]) -> None:
        """Cristian's estimate: of several round trips the shortest; half of it is the error."""
        peer = self._peers[client_id]
        now = time.monotonic_ns()
        trip = now - data["asked"]
        peer.pings.append((trip, data["here"] - (data["asked"] + trip // 2)))
        if len(peer.pings) < _PINGS:
            self._runner.send("harness_clock", {"asked": time.monotonic_ns()}, client_id)
            return
        trip, peer.offset = min(peer.pings)
        peer.error = trip // 2
        self._event("clock_offset", worker=peer.name, offset_ns=peer.offset, error_ns=peer.error)

    def on_ready(self, client_id: str, data: dict[str, Any]) -> None:
        for cause in data["problems"]:
            self.problem(cause)
        with self._changed:
            self._peers[client_id].ready = not data["problems"]
            self._changed.notify_all()

    def on_snapshot(self, data: dict[str, Any]) -> None:
        self._channel.send({"type": "snapshot", "snapshot": data})

    def on_event(self, data: dict[str, Any]) -> None:
        self._event(data["name"], **data["detail"])

    def on_segment(self, data: dict[str, Any]) -> None:
        """What a worker elsewhere has recorded; the pieces come in order."""
        try:
            with self._history(Path(data["file"]).name).open("ab") as file:
                file.write(data["data"])
        except OSError as error:
            self._event("disk_full", worker=data["file"], cause=error.strerror or str(error))

    def on_done(self, client_id: str) -> None:
        with self._changed:
            self._peers[client_id].done = True
            self._changed.notify_all()

    # --- the course of the run ---

    def problem(self, cause: str) -> None:
        """Load cannot begin: the owner ends the run."""
        self._event("load_problem", cause=cause)

    def spawned(self, users: int) -> None:
        """Locust has started (or stopped) users until there are that many."""
        if not self._began:
            self._began = True
            threading.Thread(target=self._begin, daemon=True).start()
        elif users != self.load.users and not (self._stopping or self._halted):
            self._event("load_failed", cause=f"the number of users was changed to {users}")

    def _begin(self) -> None:
        """Users are spawned: wait until all have been reported (Locust itself waits a second at most), then tell each
        worker who serves what, and the owner when load is full."""
        if self.load.locustfile is None and not self._all_users():
            return
        now = time.monotonic_ns()
        if self.load.locustfile is not None:
            for peer in self._peers.values():
                self._runner.send("harness_go", {"offset": -peer.offset}, peer.client_id)
            self._channel.send({"type": "full_load", "time": now})
            return
        peers = sorted((p for p in self._peers.values() if p.here), key=lambda p: p.index)
        nodes = [target["node"] for target in self._job["targets"]]
        driven = [share.node for share in shares(self.load.operations, nodes, self.load.users)]
        placed = place([self._runner.users_of(peer.client_id) for peer in peers], driven)
        count = Counter(node for mine in placed for node in mine)
        begin = now + _HEADSTART
        for peer, mine in zip(peers, placed, strict=True):
            go = {
                "begin": begin,
                "offset": -peer.offset,
                "placed": mine,
                "parts": {node: part_of(node, mine, count) for node in dict.fromkeys(mine)},
                "workers": len(peers),
            }
            self._runner.send("harness_go", go, peer.client_id)
        self._channel.send({"type": "full_load", "time": begin + int(self.load.ramp * 1e9)})

    def _all_users(self) -> bool:
        deadline = time.monotonic() + _USERS_WITHIN
        while not self._stopping:
            there = sum(self._runner.users_of(client_id) for client_id in self._peers)
            if there >= self.load.users:
                return True
            if time.monotonic() > deadline:
                self.problem(f"only {there} of {self.load.users} users came")
                break
            with self._changed:
                self._changed.wait(0.02)
        return False

    def halted(self, by: str) -> None:
        """Locust ends the test: we told it to, no worker is left, or else ``by`` did."""
        if self._stopping or self._halted:
            return
        self._look()
        self._halted = True
        if any(peer.here for peer in self._peers.values()):
            self._event("load_stopped", by=by)

    def stop(self, timeout: float) -> None:
        """End the workers' users, collect what they still have to say, quit."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for peer in list(self._peers.values()):
            self._runner.send("harness_stop", {"timeout": timeout}, peer.client_id)
        with self._changed:
            self._changed.wait_for(
                lambda: all(p.done or not (p.here and p.ready) for p in self._peers.values()), timeout + 2.0
            )
        for peer in list(self._peers.values()):
            if peer.here and peer.ready and not peer.done:
                self._event("worker_silent", worker=peer.name, cause=f"not ended after {timeout + 2:g} s")
        self._channel.send({"type": "done"})
        self._runner.quit()

    def _obey(self) -> None:
        """Commands of the owner. When it is gone there is nobody to load for."""
        timeout = 2.0
        for command in self._channel:
            if command["cmd"] == "lost":
                self._lose(command["worker"])
            elif command["cmd"] == "stop":
                timeout = float(command["timeout"])
                break
        self.stop(timeout)

    def _watch(self) -> None:
        """Name workers that cannot be heard: of one that hangs, or is elsewhere, nobody else would notice."""
        while not self._stopping:
            if not self._halted:
                self._look()
            with self._changed:
                self._changed.wait(0.5)

    def _look(self) -> None:
        for peer in list(self._peers.values()):
            if peer.gone:
                continue
            if not (peer.local or self._runner.knows(peer.client_id)):  # of a local one the owner knows
                self._lose(peer.name)
                self._event("worker_lost", worker=peer.name, cause="it left")
                continue
            silent = not self._runner.hears(peer.client_id)
            with self._changed:  # two may look at the same moment: one of them tells
                if silent == peer.silent:
                    continue
                peer.silent = silent
                self._changed.notify_all()
            if silent:
                self._event("worker_silent", worker=peer.name, cause="no heartbeat")
            else:
                self._event("worker_returned", worker=peer.name)

    def _lose(self, name: str) -> None:
        with self._changed:
            for peer in self._peers.values():
                peer.gone |= peer.name == name
            self._changed.notify_all()

    def _event(self, name: str, **detail: Any) -> None:
        self._channel.send({"type": "event", "time": time.monotonic_ns(), "name": name, "detail": detail})

    def _history(self, name: str) -> Path:
        return Path(self._job["history"]) / name
