"""What happened in a run, as data: the vocabulary that recorders, checkers and reports share.

A completion is ``ok`` (took effect), ``fail`` (certainly did not) or ``unknown`` (may have); an invocation without
completion is unknown for ever (the rule of Jepsen histories). How operations lie on disk is ``harness.segments``.

Times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

INVOKE: Final = 1
OK: Final = 2
FAIL: Final = 3
UNKNOWN: Final = 4
OUTCOMES: Final[dict[int, str]] = {OK: "ok", FAIL: "fail", UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation index means. ``kind``: rpc, write, read, update, or a user's own name."""

    name: str
    kind: str
    table: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One stage in the life of a fault (or recovery, or rpc step).

    ``stage``: planned, injecting, bit, not_bitten, healing, healed, not_healed, skipped, failed.
    ``step`` is the step's id in the plan, ``kind`` its action, ``targets`` scenario node names.
    """

    type: ClassVar[str] = "fault"
    time: int
    step: str
    kind: str
    stage: str
    targets: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """Something seen on ``node`` at ``time``: nodeup, nodedown, mnesia_up, mnesia_down, inconsistent_database, ..."""

    type: ClassVar[str] = "observation"
    time: int
    node: str
    event: str
    peer: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the run itself: ``phase`` (detail.phase), ``worker_lost``, ``renewal_missed``, ``unhealed``, ..."""

    type: ClassVar[str] = "mark"
    time: int
    name: str
    detail: Mapping[str, Any] = field(default_factory=dict)


ENDED: Final = "ended"
"""The mark of a run that ended in an error or by a signal: outcome, exit_code, error, error_kind, judged."""

JournalEvent = FaultRecord | Observation | Mark
_EVENT_TYPES: Final[dict[str, type[FaultRecord] | type[Observation] | type[Mark]]] = {
    kind.type: kind for kind in (FaultRecord, Observation, Mark)
}


def event_to_json(event: JournalEvent) -> str:
    """One journal line, without the newline."""
    return json.dumps({"type": event.type, **asdict(event)}, separators=(",", ":"), default=str)


def event_from_json(line: str) -> JournalEvent:
    """Inverse of ``event_to_json``. Raises ValueError, KeyError or TypeError for other lines."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise TypeError("an event is an object")
    kind = _EVENT_TYPES[data.pop("type")]
    if "targets" in data:
        data["targets"] = tuple(data["targets"])
    return kind(**data)


# --- operations ---


@dataclass(frozen=True, slots=True)
class Operations:
    """Invocation and completion joined: one row per operation, columns of equal length.

    ``outcome`` holds OK, FAIL or UNKNOWN; where no completion was written ``end`` is -1 and the outcome UNKNOWN.
    ``op``, ``target`` and ``reason`` index ``operations``, ``targets`` and ``reasons``.
    """

    operations: tuple[Operation, ...]
    targets: tuple[str, ...]
    reasons: tuple[str, ...]
    op: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    reason: npt.NDArray[np.int32]
    outcome: npt.NDArray[np.uint8]
    process: npt.NDArray[np.uint64]
    id: npt.NDArray[np.uint64]
    key: npt.NDArray[np.int64]
    intended: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.id)

    def where(self, mask: npt.NDArray[np.bool_]) -> Operations:
        """The rows the mask selects."""
        return Operations(
            self.operations,
            self.targets,
            self.reasons,
            *(getattr(self, name)[mask] for name in _COLUMNS),
        )

    def of_kind(self, *kinds: str, table: str | None = None, context: str | None = None) -> npt.NDArray[np.bool_]:
        """Mask of the rows whose operation has one of these kinds, and this table and context where given."""
        wanted = [
            i
            for i, o in enumerate(self.operations)
            if o.kind in kinds and table in (None, o.table) and context in (None, o.context)
        ]
        return np.isin(self.op, wanted)


_COLUMNS: Final = (
    "op",
    "target",
    "reason",
    "outcome",
    "process",
    "id",
    "key",
    "intended",
    "start",
    "end",
    "value",
)


@dataclass(frozen=True, slots=True)
class LagSamples:
    """Lag samples of a run: ``rows`` has dtype LAG_SAMPLE, its word columns index ``words``."""

    rows: npt.NDArray[Any]
    words: tuple[str, ...]


# --- what the nodes held at the end -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One node's own copy of one table after quiesce.

    ``ids``: sorted operation ids found in it, or None where the rows are not ours to read (a user's table).
    ``updates``: list key -> operation ids in the order the row holds them.
    """

    node: str
    table: str
    count: int
    digest: str
    serves_reads: bool
    ids: npt.NDArray[np.uint64] | None = None
    updates: Mapping[int, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node said of the cluster after quiesce; ``answered`` False: it could not be asked."""

    node: str
    answered: bool
    connected: tuple[str, ...] = ()
    running_db_nodes: tuple[str, ...] = ()
    where_to_write: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FinalState:
    """Every replica read after quiesce; ``problems`` says in words what could not be read.

    ``discarded``: table -> operation ids that a recovery step dropped; an acknowledged one among them is still lost.
    ``rpc``: answers of the scenario's ``expect: rpc``, one mapping each: call, node, returned, expected, outcome.
    """

    time: int
    replicas: tuple[ReplicaState, ...] = ()
    views: tuple[NodeView, ...] = ()
    problems: tuple[str, ...] = ()
    discarded: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)
    rpc: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """All recorded facts of one run: what checkers see, and all they see."""

    plan: Any  # harness.scenario.plan.Plan; this module stands below it
    operations: Operations
    events: tuple[JournalEvent, ...]
    lag: LagSamples
    final: FinalState | None
    load: Mapping[str, Any] = field(default_factory=dict)  # last merged snapshot: offered, late, dropped per reason
    damage: tuple[str, ...] = ()  # in words: what of the run's files could not be read back

    def faults(self) -> Iterator[FaultRecord]:
        return (e for e in self.events if isinstance(e, FaultRecord))

    def observations(self, *kinds: str) -> Iterator[Observation]:
        return (e for e in self.events if isinstance(e, Observation) and (not kinds or e.event in kinds))

    def marks(self, *names: str) -> Iterator[Mark]:
        return (e for e in self.events if isinstance(e, Mark) and e.name in names)


def read_events(lines: Iterable[str]) -> tuple[JournalEvent, ...]:
    """Journal lines back as events; a torn last line (SIGKILL in the middle of a write) is left out."""
    events: list[JournalEvent] = []
    for line in lines:
        try:
            events.append(event_from_json(line))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(events)
