"""How long the nodes were blind: from a fault being in force to nodedown, per node and peer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.history import FaultRecord, Observation
from harness.scenario.actions import Partition
from harness.scenario.groups import cut_pairs
from harness.scenario.plan import Plan

Pair = tuple[str, str]


@dataclass(slots=True)
class _Open:
    """A fault that bit: which (node, peer) have yet to notice; ``until`` it was healed, 0 as long as it is not."""

    kind: str
    since: int
    waiting: set[Pair]
    began: int = 0
    until: int = 0


class Detection:
    """Joins faults with nodedowns, in whichever order they become known. Thread-safe; a listener for the bus.

    ``detected`` is called once per fault and pair with (record of it as Observation, kind, seconds).
    """

    def __init__(self, plan: Plan, detected: Callable[[Observation, str, float], None]) -> None:
        self._plan = plan
        self._detected = detected
        self._lock = threading.Lock()
        self._injecting: dict[str, int] = {}
        self._open: dict[str, _Open] = {}
        self._downs: list[Observation] = []

    def on_event(self, event: Any) -> None:
        match event:
            case FaultRecord(stage="injecting"):
                self._injecting[event.step] = event.time
            case FaultRecord(stage="bit"):
                self._begin(event)
            case FaultRecord(stage="healed" | "not_healed"):
                with self._lock:  # a nodedown from before may be drained after this
                    if fault := self._open.get(event.step):
                        fault.until = event.time
            case Observation(event="nodedown"):
                self._down(event)

    def _begin(self, record: FaultRecord) -> None:
        with self._lock:
            waiting = self._blind(record)
            if not waiting:
                return
            began = self._injecting.pop(record.step, record.time)
            self._open[record.step] = _Open(record.kind, record.time, waiting, began)
            known = [down for down in self._downs if down.time >= began]
        for down in known:  # a killed node is missed before the kill is proven
            self._match(down)

    def _blind(self, record: FaultRecord) -> set[Pair]:
        """(node, peer): the peer is silent to the node."""
        names = [node.name for node in self._plan.nodes]
        step = next((s for s in self._plan.timeline if s.id == record.step), None)
        if step is not None and isinstance(step.action, Partition):
            return {(node, peer) for peer, node in cut_pairs(step.action.groups, names)}
        if record.kind in ("kill", "pause"):
            silent = set(record.targets)
            return {(node, peer) for peer in silent for node in names if node not in silent}
        return set()

    def _down(self, down: Observation) -> None:
        with self._lock:
            self._downs.append(down)
        self._match(down)

    def _match(self, down: Observation) -> None:
        pair = (down.node, down.peer)
        found: list[tuple[str, _Open]] = []
        with self._lock:
            for step, fault in self._open.items():
                if pair in fault.waiting and fault.began <= down.time <= (fault.until or down.time):
                    fault.waiting.discard(pair)
                    found.append((step, fault))
        for step, fault in found:
            seconds = max(0.0, (down.time - fault.since) / 1e9)
            told = {"step": step, "kind": fault.kind, "seconds": round(seconds, 6)}
            self._detected(Observation(down.time, down.node, "detected", down.peer, told), fault.kind, seconds)
