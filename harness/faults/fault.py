"""What a fault is: five verbs and their evidence. docs/faults.md shows how to write one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.cluster.each import on_each
from harness.errors import FaultUnsupported, HarnessError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harness.cluster.cluster import Cluster
    from harness.scenario.groups import Pair
    from harness.scenario.plan import Plan

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen. ``detail`` is journalled as it stands, so it holds JSON values only.

    ``time`` (ns) is when the effect began, None where that is when the evidence was complete.
    """

    ok: bool
    detail: Mapping[str, Any] = field(default_factory=dict)
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What a fault may use. ``mark`` journals a point of the run, ``discarded`` keeps ids that a recovery dropped."""

    cluster: Cluster
    plan: Plan
    mark: Callable[[str, Mapping[str, Any]], None]
    discarded: Callable[[str, npt.NDArray[np.uint64]], None]


class Fault(Protocol):
    """One step of the timeline, made by ``FAULTS[kind](step, situation)``; making it does nothing yet.

    A verb that raises HarnessError is journalled as failed and never ends the run. ``inject`` and ``heal`` of one
    fault never run at the same time; ``heal`` is called after every ``inject``, one that failed half-way included, and
    again when it failed itself.
    """

    @property
    def targets(self) -> tuple[str, ...]:
        """The scenario nodes it concerns."""

    @property
    def separates(self) -> frozenset[Pair]:
        """Ordered pairs (from, to) whose messages it stops: all of these have noticed, then it is ``detected``."""

    def prepare(self) -> None:
        """Try what it needs of the engine and the nodes, before there is load. Raises FaultUnsupported.

        Of several with the same targets one is asked for all; it is not the one that acts later.
        """

    def inject(self) -> None:
        """Act."""

    def bit(self) -> Evidence:
        """Prove that it is in force, waiting for it within a deadline of its own."""

    def heal(self) -> None:
        """Undo, whatever of it is there. A kind that acts once has nothing to undo."""

    def healed(self) -> Evidence:
        """Prove that nothing of it is left, waiting for it within a deadline of its own."""


def needs(kind: str, names: Iterable[str], trial: Callable[[str], object], remedy: str) -> None:
    """``trial(name)`` on each of these nodes; what fails there is FaultUnsupported."""

    def try_on(name: str) -> None:
        try:
            trial(name)
        except HarnessError as error:
            raise FaultUnsupported(f"prepare {kind}", error.cause or str(error), remedy, node=name) from error

    on_each(names, try_on)


def attempt(act: Callable[[], T]) -> T | None:
    """The result, or None when it failed as operations on a broken cluster do."""
    try:
        return act()
    except HarnessError:
        return None


def until(look: Callable[[], Evidence], timeout: float, pause: float = 0.02) -> Evidence:
    """Look again and again until the evidence is ok or ``timeout`` seconds are over; the last look is returned."""
    deadline = time.monotonic() + timeout
    while True:
        evidence = look()
        if evidence.ok or time.monotonic() >= deadline:
            return evidence
        time.sleep(pause)
