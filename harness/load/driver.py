"""The users of one worker process: who serves which node, what is due, and when to stop.

Runs on any Runtime, one process, one thread of control: greenlets in a Locust worker.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from harness.dist import Runtime
from harness.dist.runtime import Parker
from harness.errors import DiskFull
from harness.history import FAIL, OK, Operation
from harness.load import workload
from harness.load.arrivals import Arrival, Lane, Schedule
from harness.load.client import Link, Op, Recorder, Session
from harness.load.snapshot import Meter
from harness.load.workload import Request, Share
from harness.scenario.plan import PlannedLoad, PlannedOperation

LATE: Final = 10_000_000  # ns after which a start counts as late
_PULSE: Final = 0.05  # s between looks at the loop's own lag
_REST: Final = 0.05  # s a closed-loop user rests after an operation that could not even be sent
_RECENT: Final = 1000  # acknowledged writes that reads choose from, per table


@dataclass(slots=True)
class _Queue:
    """A node's lane with the users that wait for something to do."""

    lane: Lane
    idle: deque[Parker] = field(default_factory=deque)


class Driver:
    """Made when the plan has come; ``go`` begins, ``serve`` is one user's life, ``stop`` lets each finish its call."""

    def __init__(
        self,
        load: PlannedLoad,
        shares: Sequence[Share],
        links: Mapping[str, Link],
        recorder: Recorder,
        meter: Meter,
        runtime: Runtime,
        seed: str,
    ) -> None:
        self.stopping = False
        self._load = load
        self._shares = {share.node: share for share in shares}
        self._links = links
        self._recorder = recorder
        self._stats = recorder.stats
        self._meter = meter
        self._runtime = runtime
        self._seed = seed
        self._begin: int | None = None
        self._placed: Sequence[str] = ()
        self._queues: dict[str, _Queue] = {}
        self._parked: set[Parker] = set()
        self._users = itertools.count()
        self._serving = 0
        self._all_gone = runtime.parker()
        self._ops = [_op(operation, load, recorder) for operation in load.operations]
        self._rpcs = [workload.rpc(o) if o.kind == "rpc" else None for o in load.operations]
        self._updated = {o.table: o.keys for o in load.operations if o.kind == "update"}
        self._recent: dict[str, deque[int]] = {o.table: deque(maxlen=_RECENT) for o in load.operations if o.table}
        self._rows: Counter[str] = Counter()
        self._max_rows = load.max_rows
        self._random = random.Random(f"{seed}:choices")
        self._value = random.Random(f"{seed}:value").randbytes(load.value_size)
        runtime.spawn(self._pulse, "loop lag")

    # --- begin and end ---

    def go(self, begin: int, placed: Sequence[str], parts: Mapping[str, float], workers: int) -> None:
        """Load starts at ``begin`` ns. ``placed``: the node of each local user; ``parts``: which part (0..1) of a
        node's arrivals is this worker's."""
        self._max_rows = max(self._load.max_rows // workers, 1)
        self._placed = placed
        if self._load.rate is not None:
            for node in dict.fromkeys(placed):
                self._open_lane(node, begin, self._load.rate * self._shares[node].part * parts[node])
        self._begin = begin
        self._wake_all()

    def _open_lane(self, node: str, begin: int, rate: float) -> None:
        share = self._shares[node]
        chance = random.Random(f"{self._seed}:{node}")
        lane = Lane(
            Schedule(rate, begin, chance.random, self._load.ramp),
            pick=lambda: share.pick(chance.random()),
            limit=int(self._load.timeout * 1e9),
        )
        queue = self._queues[node] = _Queue(lane)
        self._runtime.spawn(lambda: self._dispatch(node, queue), f"arrivals {node}")

    def stop(self, timeout: float) -> bool:
        """Offer nothing more and wait until every user has ended its call; False when some still wait after
        ``timeout`` seconds (their operations stay open: unknown)."""
        self.halt()
        ended = self._serving == 0 or self._all_gone.park(timeout)
        for queue in self._queues.values():
            if queue.lane.waiting:  # offered, and nobody came to begin it
                self._stats.dropped["load_ended"] += len(queue.lane.waiting)
                queue.lane.waiting.clear()
        return ended

    def halt(self) -> None:
        """Offer nothing more."""
        self.stopping = True
        self._wake_all()

    def _wake_all(self) -> None:
        for parker in list(self._parked):
            parker.unpark()

    def _sleep(self, seconds: float | None) -> None:
        """Until the time is over, somebody wakes us, or load stops."""
        parker = self._runtime.parker()
        self._parked.add(parker)
        try:
            if not self.stopping:
                parker.park(seconds)
        finally:
            self._parked.discard(parker)

    # --- users ---

    def serve(self) -> None:
        """One user's life; returns when load stops."""
        number = next(self._users)
        self._serving += 1
        try:
            while self._begin is None and not self.stopping:
                self._sleep(None)
            if self.stopping:
                return
            placed = self._placed or tuple(self._shares)  # none placed here: moved here when another worker died
            node = placed[number % len(placed)]
            session = Session(self._links[node], self._recorder)
            if node in self._queues:
                self._serve_queue(session, self._queues[node])
            elif self._load.rate is not None:
                while not self.stopping:
                    self._sleep(None)  # nothing is due here: the dead worker's arrivals went with it
            else:
                self._serve_closed(session, self._shares[node], number)
        except DiskFull:
            self.halt()  # the recorder has told whom it concerns
        finally:
            self._serving -= 1
            if self.stopping and not self._serving:
                self._all_gone.unpark()

    def _serve_queue(self, session: Session, queue: _Queue) -> None:
        waiting, idle = queue.lane.waiting, queue.idle
        node, clock = session.link.target.node, self._recorder.clock
        parker = self._runtime.parker()
        self._parked.add(parker)
        try:
            while not self.stopping:
                if not waiting:
                    idle.append(parker)
                    parker.park()
                    continue
                arrival = waiting.popleft()
                age = clock() - arrival.intended
                if age > queue.lane.limit:
                    self._drop(node, (arrival,))
                    continue
                if age > LATE:
                    self._stats.late += 1
                self._operate(session, arrival.operation, arrival.intended)
        finally:
            self._parked.discard(parker)
            if parker in idle:
                idle.remove(parker)

    def _serve_closed(self, session: Session, share: Share, number: int) -> None:
        assert self._begin is not None
        clock = self._recorder.clock
        begin = self._begin + int(self._load.ramp * 1e9 * number / max(len(self._placed), 1))
        while not self.stopping and (left := begin - clock()) > 0:
            self._sleep(left / 1e9)
        node = session.link.target.node
        while not self.stopping:
            operation = share.pick(self._random.random())
            self._stats.offered[self._ops[operation].name, node] += 1
            if self._operate(session, operation, 0):
                self._sleep(_REST)

    def _operate(self, session: Session, index: int, intended: int) -> bool:
        """One operation; True when nothing was sent and a user without a queue had better rest."""
        op, operation = self._ops[index], self._load.operations[index]
        op_id = self._recorder.new_id()
        request: Request | None = self._rpcs[index]
        key = -1
        if request is None:
            table, context = operation.table, operation.context
            if operation.kind == "write":
                if self._rows[table] >= self._max_rows:
                    self._stats.dropped["max_rows"] += 1
                    return True
                self._rows[table] += 1
                key = op_id
                request = workload.write(table, context, op_id, self._value)
            elif operation.kind == "read":
                key, term = self._key_to_read(table)
                request = workload.read(table, context, term)
            else:
                key = int(self._random.random() * operation.keys)
                request = workload.update(table, context, key, op_id)
        judged = session.perform(op, request, op_id, key, intended)
        if judged.outcome == OK and operation.kind == "write":
            self._recent[operation.table].append(op_id)
        return judged.outcome == FAIL and judged.reason == "not_sent"

    def _key_to_read(self, table: str) -> tuple[int, object]:
        """A row lately written here; before there is one, an updated row, else a key that was never written."""
        recent = self._recent[table]
        if recent:
            key = recent[int(self._random.random() * len(recent))]
            return key, key
        if table in self._updated:
            return -1, workload.update_key(int(self._random.random() * self._updated[table]))
        return 0, 0

    # --- what is due ---

    def _dispatch(self, node: str, queue: _Queue) -> None:
        """Queue what becomes due at its time and wake users for it, whether or not earlier calls have come back."""
        lane, clock = queue.lane, self._recorder.clock
        while not self.stopping:
            now = clock()
            for arrival in lane.become_due(now):
                self._stats.offered[self._ops[arrival.operation].name, node] += 1
                if queue.idle:
                    queue.idle.popleft().unpark()
            self._drop(node, lane.expire(now))
            due = lane.next_due
            self._sleep(max(due - clock(), 0) / 1e9)
            self._meter.lagged((clock() - due) / 1e9)

    def _drop(self, node: str, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            # Late because the node's users all wait for it, or because this very process could not keep up?
            reason = "generator_late" if self._meter.saturated else "all_users_busy"
            self._stats.dropped[reason] += len(arrivals)

    def _pulse(self) -> None:
        """Notice when this process's own loop is late, and keep completions from lingering in memory."""
        clock = self._recorder.clock
        parker = self._runtime.parker()
        while not self.stopping:
            due = clock() + int(_PULSE * 1e9)
            parker.park(_PULSE)
            self._meter.lagged((clock() - due) / 1e9)
            try:
                self._recorder.flush()
            except DiskFull:
                self.halt()


def _op(operation: PlannedOperation, load: PlannedLoad, recorder: Recorder) -> Op:
    word = Operation(operation.name, operation.kind, operation.table, operation.context)
    timeout = operation.call.timeout if operation.call is not None else load.timeout
    return Op(recorder.number(word), operation.name, operation.kind, operation.context, timeout)
