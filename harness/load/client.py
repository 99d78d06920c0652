"""Calls to a node, every one recorded: the invocation is on disk before its bytes leave, the completion after.

Runs on whatever Runtime it is given; one process's clients share one Recorder and are not for several threads.
"""

from __future__ import annotations

import itertools
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from harness.dist import Connection, Runtime, connect
from harness.errors import DiskFull, DistError, HandshakeRefused, HarnessError, NotSent
from harness.etf import Term
from harness.history import INVOKE, UNKNOWN, Operation
from harness.load.snapshot import Stats
from harness.load.workload import Bounded, Judged, Request, judge, judge_error
from harness.segments import Segment, pack_record

_LOG = logging.getLogger(__name__)
_FIRST_WAIT = 0.05  # s before a lost connection is dialled again; doubled up to ...
_LONGEST_WAIT = 1.0
_FINAL = (
    "cookie", "flags", "not_allowed", "tls", "tls_authority", "tls_refused", "tls_name", "tls_expired", "tls_purpose"
)  # fmt: skip
"""Reasons of a refusal that no further try will change."""


class Target(Protocol):
    """A node and where its distribution port is dialled; port 0: ask EPMD on the host."""

    @property
    def node(self) -> str: ...
    @property
    def node_name(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class Link:
    """The one connection of this process to one node, under one fixed name; made anew whenever it is lost.

    A name per dial would stay in the node's atom table for ever. While the link is down calls raise NotSent at once.
    """

    def __init__(
        self,
        target: Target,
        *,
        local: str,
        cookie: str,
        runtime: Runtime,
        ticktime: float,
        tls: ssl.SSLContext | None = None,
        before_write: Callable[[], None] | None = None,
    ) -> None:
        self.target = target
        self.problem: HarnessError | None = None  # why the last dial failed
        self._local = local
        self._cookie = cookie
        self._runtime = runtime
        self._ticktime = ticktime
        self._tls = tls
        self._before_write = before_write
        self._connection: Connection | None = None
        self._lost = runtime.parker()
        self._first = runtime.parker()
        self._closing = False
        runtime.spawn(self._keep, f"link {target.node}")

    def opened(self, timeout: float) -> None:
        """Wait for the first connection. Raises what the last dial raised, at once what is final."""
        if self._connection is None:
            self._first.park(timeout)
        if self._connection is None:
            raise self.problem or NotSent("connect", f"not connected in {timeout:g} s", node=self.target.node)

    def rpc(self, request: Request, timeout: float) -> Term:
        connection = self._connection
        if connection is None:
            raise NotSent("rpc", str(self.problem or "not connected"), node=self.target.node)
        return connection.rpc(request.module, request.function, request.args, timeout)

    def close(self) -> None:
        self._closing = True
        if self._connection is not None:
            self._connection.close()
        self._lost.unpark()

    def _keep(self) -> None:
        wait = _FIRST_WAIT
        while not self._closing:
            try:
                connection = self._dial()
            except DistError as error:
                self._troubled(error)
                self._lost.park(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            if self._closing:
                connection.close()
                return
            connection.before_write = self._before_write
            self._connection = connection
            self._first.unpark()
            while not (connection.closed or self._closing):
                self._lost.park()
            self._connection = None
            if not self._closing:
                self._lost.park(_FIRST_WAIT)
            wait = _FIRST_WAIT

    def _dial(self) -> Connection:
        return connect(
            self.target.node_name,
            host=self.target.host,
            port=self.target.port or None,
            local=self._local,
            cookie=self._cookie,
            runtime=self._runtime,
            ticktime=self._ticktime,
            tls=self._tls,
            on_close=self._on_close,
        )

    def _on_close(self, error: HarnessError) -> None:
        self._troubled(error)
        self._lost.unpark()

    def _troubled(self, error: HarnessError) -> None:
        if str(error) != str(self.problem):
            _LOG.warning("%s", error)
        self.problem = error
        if isinstance(error, HandshakeRefused) and error.reason in _FINAL:
            self._first.unpark()


@dataclass(frozen=True, slots=True)
class Op:
    """An operation as one process's history numbers it. ``timeout`` in seconds."""

    number: int
    name: str
    kind: str
    context: str
    timeout: float


class Recorder:
    """History and figures of one process. Without a segment (plain ``locust -f``) only figures are kept.

    Ids of operations and of logical processes are unique in the run: the worker's index in the upper bits.
    """

    def __init__(
        self,
        stats: Stats,
        index: int = 0,
        segment: Segment | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        on_disk_full: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self.stats = stats
        self.clock = clock
        self.reason = Bounded(32)
        self.name = Bounded(1000)
        self._failed: OSError | None = None
        self._segment = segment
        self._on_disk_full = on_disk_full
        self.new_id = itertools.count((index << 40) + 1).__next__
        self.new_process = itertools.count((index << 40) + 1).__next__
        self._words: dict[Operation | str, int] = {}

    def number(self, word: Operation | str) -> int:
        """The segment's number for a word, on disk when this returns. Raises DiskFull."""
        if self._segment is None:
            return self._words.setdefault(word, len(self._words) + 1)
        try:
            return self._segment.words.number(word)
        except OSError as error:
            raise self._full(error) from error

    def append(self, record: bytes) -> None:
        if self._segment is not None:
            self._segment.append(record)

    def flush(self) -> None:
        """Give what was recorded to the kernel: called before anything is sent. Raises DiskFull, and then nothing may
        be sent."""
        if self._segment is not None:
            try:
                self._segment.flush()
            except OSError as error:
                raise self._full(error) from error

    def close(self) -> None:
        """End the segment; what completes later stays without completion in it (unknown)."""
        segment, self._segment = self._segment, None
        if segment is not None:
            try:
                segment.close()
            except OSError as error:
                self._full(error)

    def _full(self, error: OSError) -> DiskFull:
        if self._failed is None:
            self._failed = error
            self._on_disk_full(error)
        return DiskFull("write history", error.strerror or str(error), "free some space")


class Session:
    """A logical user of one node. After an outcome that is unknown it goes on as another process: under the old
    identity an operation may still be running."""

    def __init__(self, link: Link, recorder: Recorder) -> None:
        self.link = link
        self.recorder = recorder
        self.process = recorder.new_process()
        self._target = recorder.number(link.target.node)

    def perform(self, op: Op, request: Request, op_id: int, key: int = -1, intended: int = 0) -> Judged:
        """Call, and record it. ``intended`` 0: due now. What the call raised is the judgement's ``result``."""
        recorder = self.recorder
        stats = recorder.stats
        target = self._target
        start = recorder.clock()
        due = intended or start
        recorder.append(pack_record(INVOKE, op.number, target, 0, self.process, op_id, key, due, start, -1))
        stats.in_flight += 1
        try:
            try:
                judged = judge(op.kind, op.context, self.link.rpc(request, op.timeout))
            except HarnessError as error:
                outcome, reason = judge_error(error)
                judged = Judged(outcome, reason, result=error)
        finally:
            stats.in_flight -= 1
        end = recorder.clock()
        reason = recorder.reason(judged.reason) if judged.reason else ""
        recorder.append(
            pack_record(
                judged.outcome,
                op.number,
                target,
                recorder.number(reason) if reason else 0,
                self.process,
                op_id,
                key,
                due,
                end,
                judged.value,
            )
        )
        stats.complete(op.name, self.link.target.node, judged.outcome, reason, end - due, end - start)
        if judged.outcome == UNKNOWN:
            self.process = recorder.new_process()
        return judged
