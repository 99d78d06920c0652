"""How long after healing the cluster is whole again: full mesh, agreeing views, nothing pending.

Mnesia does not merge by itself (a cut without recovery never gets there), and a whole cluster may still hold
different data: that is for the checkers, which compare the copies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.history import FaultRecord, Observation
from harness.probes.view import View, unsteady
from harness.scenario.actions import ACTIONS
from harness.scenario.plan import Plan


class Consistency:
    """Waits for wholeness after each healed fault. Thread-safe; a listener for the bus.

    ``reached`` is called once per healed fault with (record of it as Observation, kind, seconds since healed).
    """

    def __init__(self, plan: Plan, backlog: Callable[[], int], reached: Callable[[Observation, str, float], None]):
        self._plan = plan
        self._backlog = backlog
        self._reached = reached
        self._lock = threading.Lock()
        self._in_force: set[str] = set()
        self._healed: list[FaultRecord] = []
        self._looked: set[str] = set()

    def on_event(self, event: Any) -> None:
        if not isinstance(event, FaultRecord) or not ACTIONS[event.kind].lasting:
            return
        with self._lock:
            if event.stage == "bit":
                self._in_force.add(event.step)
            elif event.stage in ("healed", "not_healed"):
                self._in_force.discard(event.step)
                if event.stage == "healed":
                    self._healed.append(event)
            self._looked.clear()  # what was seen before the change says nothing about after

    def looked(self, node: str, views: Mapping[str, View | None]) -> None:
        """A node's view was taken anew; ``views`` are the newest of all."""
        with self._lock:
            if not self._healed or self._in_force:
                return
            self._looked.add(node)
            if self._looked < set(views) or self._backlog() or any(unsteady(self._plan, views)):
                return
            reached, self._healed = self._healed, []
        now = time.monotonic_ns()
        for fault in reached:
            seconds = max(0.0, (now - fault.time) / 1e9)
            told = {"step": fault.step, "kind": fault.kind, "seconds": round(seconds, 3)}
            self._reached(Observation(now, "", "consistent", "", told), fault.kind, seconds)
