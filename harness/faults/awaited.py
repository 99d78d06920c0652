"""What ``until:`` waits for, as a predicate on the events of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from harness.history import FaultRecord, Mark, Observation
from harness.scenario.groups import Pair
from harness.scenario.schema import Until

ENDING: Final = "faults_ending"  # a mark on the bus, never journalled: load ends, who waits goes on


def awaited(until: Until, separates: frozenset[Pair], names: Mapping[str, str], began: int) -> Callable[[Any], bool]:
    """A predicate that is true of the event with which the waiting is over. It has to be shown all events in order.

    ``separates``: pairs (from, to) that the fault keeps apart; it is ``detected`` when each ``to`` has seen nodedown of
    its ``from`` (only those on ``until.node`` where given), or had lost it before. Other
    events count from ``began`` (ns) on. ``names``: Erlang node name -> scenario name.
    """
    concerned = {pair for pair in separates if until.node in ("", pair[1])}
    unaware = set(concerned)

    def over(event: Any) -> bool:
        if not isinstance(event, FaultRecord | Observation | Mark):
            return False
        if isinstance(event, Mark) and event.name == ENDING:
            return True
        since = event.time >= began
        if until.event != "detected":
            return since and isinstance(event, Observation) and _is(event, until.event, until.node)
        if isinstance(event, Observation):
            pair = (names.get(event.peer, event.peer), names.get(event.node, event.node))
            if event.event == "nodedown":
                unaware.discard(pair)
            elif event.event == "nodeup" and not since and pair in concerned:
                unaware.add(pair)
        return since and not unaware

    def _is(event: Observation, kind: str, node: str) -> bool:
        return event.event == kind and node in ("", names.get(event.node, event.node))

    return over
