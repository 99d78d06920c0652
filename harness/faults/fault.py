"""What a fault is: four verbs and their evidence. docs/faults.md shows how to write one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.errors import HarnessError

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

    def inject(self) -> None:
        """Act."""

    def bit(self) -> Evidence:
        """Prove that it is in force, waiting for it within a deadline of its own."""

    def heal(self) -> None:
        """Undo, whatever of it is there. A kind that acts once has nothing to undo."""

    def healed(self) -> Evidence:
        """Prove that nothing of it is left, waiting for it within a deadline of its own."""


def on_each(names: Iterable[str], act: Callable[[str], T]) -> dict[str, T]:
    """``act(name)`` for all at the same moment; all are finished before the first error is raised."""
    names = tuple(names)
    if not names:
        return {}
    with ThreadPoolExecutor(len(names), thread_name_prefix="fault") as pool:
        futures = {name: pool.submit(act, name) for name in names}
    return {name: future.result() for name, future in futures.items()}


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
