"""What is asked of which node, and what an answer means. Pure.

Three outcomes: ok (took effect), fail (certainly did not), unknown (may have). Reasons are short words of a bounded
set, because they become labels.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from harness.errors import (
    CallTimeout,
    ConnectionLost,
    EncodeError,
    HarnessError,
    NotSent,
    RemoteError,
    UsageError,
)
from harness.etf import Atom, Export, Term
from harness.history import FAIL, OK, UNKNOWN
from harness.scenario.plan import PlannedOperation
from harness.scenario.values import module_name, to_term

CONTEXTS: Final = ("transaction", "sync_transaction", "async_dirty", "sync_dirty")
_TRANSACTIONS: Final = frozenset(CONTEXTS[:2])
_WRITE: Final = Export(Atom("mnesia"), Atom("write"), 3)
_READ: Final = Export(Atom("mnesia"), Atom("read"), 1)
_APPEND: Final = Export(Atom("harness_probe"), Atom("append"), 3)
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WRAPPERS: Final = frozenset({"EXIT", "aborted", "badrpc"})


# --- who is asked what --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """What one node gets: ``part`` of all arrivals (0..1), split over ``operations`` (indices) by ``weights``."""

    node: str
    part: float
    operations: tuple[int, ...]
    weights: tuple[float, ...]
    _sums: tuple[float, ...] = field(default=(), repr=False)

    def pick(self, uniform: float) -> int:
        """The operation index for a number in [0, 1)."""
        sums = self._sums
        return self.operations[min(bisect_right(sums, uniform * sums[-1]), len(sums) - 1)]


def shares(operations: Sequence[PlannedOperation], nodes: Sequence[str], users: int) -> tuple[Share, ...]:
    """Split the load over nodes so that every operation is asked as often as its weight says, evenly over its ``on``.

    With fewer users than nodes only the first ``users`` of the nodes that operations name are driven. Raises UsageError
    when some operation would then never be asked.
    """
    named = {node for operation in operations for node in operation.on}
    driven = [node for node in nodes if node in named][:users]
    weights: dict[str, dict[int, float]] = {node: {} for node in driven}
    for index, operation in enumerate(operations):
        on = [node for node in driven if node in operation.on]
        if not on:
            raise UsageError(
                "load", f"{users} user(s) never reach {operation.name} on {', '.join(operation.on)}",
                f"set load.users to {len(named)} or more",
            )  # fmt: skip
        for node in on:
            weights[node][index] = operation.weight / len(on)
    total = sum(sum(of.values()) for of in weights.values())
    return tuple(
        Share(node, sum(of.values()) / total, tuple(of), tuple(of.values()), tuple(accumulate(of.values())))
        for node, of in weights.items()
    )


def place(users: Sequence[int], nodes: Sequence[str]) -> list[list[str]]:
    """The node of each user, for workers with that many users each: round robin over all users of all workers."""
    placed: list[list[str]] = []
    first = 0
    for count in users:
        placed.append([nodes[(first + i) % len(nodes)] for i in range(count)])
        first += count
    return placed


# --- requests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A remote call."""

    module: str
    function: str
    args: tuple[Term, ...]


def rpc(operation: PlannedOperation) -> Request:
    """The call of an rpc operation."""
    assert operation.call is not None
    args = tuple(to_term(arg) for arg in operation.call.args)
    return Request(module_name(operation.call.module), operation.call.function, args)


def write(table: str, context: str, key: Term, value: Term) -> Request:
    """Insert or replace {Table, Key, Value}."""
    tab = Atom(table)
    return Request("mnesia", context, (_WRITE, [tab, (tab, key, value), Atom("write")]))


def read(table: str, context: str, key: Term) -> Request:
    """The rows of a key."""
    return Request("mnesia", context, (_READ, [(Atom(table), key)]))


def update(table: str, context: str, number: int, op_id: int) -> Request:
    """Append an operation id to the list under {key, Number}."""
    return Request("mnesia", context, (_APPEND, [Atom(table), update_key(number), op_id]))


def update_key(number: int) -> Term:
    """The key of a row that holds a list of operation ids."""
    return (Atom("key"), number)


# --- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """``outcome`` as in histories; ``value``: rows found by a read, else -1; ``result``: what the caller gets."""

    outcome: int
    reason: str = ""
    value: int = -1
    result: Term = None


def judge(kind: str, context: str, answer: Term) -> Judged:
    """What an answer of a call says. ``kind`` rpc, write, read, update; any answer of an rpc is ok: the call ran."""
    if kind == "rpc":
        return Judged(OK, result=answer)
    if context in _TRANSACTIONS:
        if type(answer) is not tuple or len(answer) != 2 or answer[0] not in ("atomic", "aborted"):
            return Judged(UNKNOWN, "unexpected", result=answer)
        if answer[0] == "aborted":
            return Judged(FAIL, word(answer[1], "aborted"), result=answer[1])
        answer = answer[1]
    if kind == "read":
        if type(answer) is not list:
            return Judged(UNKNOWN, "unexpected", result=answer)
        return Judged(OK, "", len(answer), answer)
    return Judged(OK, result=answer) if answer == "ok" else Judged(UNKNOWN, "unexpected", result=answer)


def judge_error(error: HarnessError) -> tuple[int, str]:
    """(outcome, reason) of a call that raised."""
    if isinstance(error, NotSent):
        return FAIL, "not_sent"
    if isinstance(error, EncodeError):
        return FAIL, "not_a_term"
    if isinstance(error, CallTimeout):
        return UNKNOWN, "timeout"
    if isinstance(error, ConnectionLost):
        return UNKNOWN, "connection_lost"
    if isinstance(error, RemoteError):
        return UNKNOWN, f"badrpc_{cause}" if (cause := word(error.reason, "")) else "badrpc"
    return UNKNOWN, "unexpected"


def word(reason: Term, otherwise: str) -> str:
    """The telling atom of an error term: no_majority of {no_majority, kv}, undef of {'EXIT', {undef, Stack}}."""
    while True:
        if isinstance(reason, Atom):
            return str(reason) if _WORD.fullmatch(reason) else otherwise
        if type(reason) is not tuple or not reason:
            return otherwise
        reason = reason[1] if reason[0] in _WRAPPERS and len(reason) > 1 else reason[0]


class Bounded:
    """Lets the first ``limit`` different words through and calls all later ones "other"."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, reason: str) -> str:
        if reason in self._known:
            return reason
        if len(self._known) >= self._limit:
            return "other"
        self._known.add(reason)
        return reason


def part_of(node: str, mine: Sequence[str], all_: Mapping[str, int]) -> float:
    """Which part of a node's arrivals falls to a worker that has ``mine`` of ``all_`` its users."""
    return mine.count(node) / all_[node] if all_.get(node) else 0.0
