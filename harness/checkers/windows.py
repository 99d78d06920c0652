"""Every lasting fault of a run: when it was in force, who had to notice and when, when all was whole again.

Whole again: every pair of nodes that lost each other (nodedown, mnesia_down) has been seen together again (nodeup,
mnesia_up, on either end), and every recovery step that followed has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from harness.history import FaultRecord, History
from harness.scenario.groups import cut_pairs
from harness.scenario.plan import Plan

_POINT_KINDS: Final = ("recover", "rpc")  # act once; everything else lasts and is healed
_ENDED: Final = ("bit", "healed", "not_bitten", "not_healed", "failed", "skipped")
FOREVER: Final = np.iinfo(np.int64).max

Pair = frozenset[str]


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """One lasting fault on the run's clock (ns). None: it never came to that."""

    step: str
    name: str
    kind: str
    targets: tuple[str, ...]
    injected: int
    bit: int | None
    heal_began: int | None
    healed: int | None
    whole: int | None  # when the cluster was whole again
    observers: frozenset[str]  # nodes that have to notice
    detected_by: Mapping[str, int] = field(default_factory=dict)
    clock_error: float = 0.0  # seconds that the worst known clock among the observers may be off
    sides: tuple[frozenset[str], ...] = ()  # of a partition: the groups

    @property
    def in_force(self) -> int:
        """When the effect began, as far as it was proven."""
        return self.injected if self.bit is None else max(self.bit, self.injected)

    @property
    def detection_s(self) -> float | None:
        """Seconds from being in force to the last node's notice."""
        return None if self.detected is None else max(0.0, (self.detected - self.in_force) / 1e9)

    @property
    def detected(self) -> int | None:
        """When the last node concerned had noticed; None when one never did while the fault lasted."""
        if not self.observers or self.observers - self.detected_by.keys():
            return None
        return max(self.detected_by.values())


def fault_windows(history: History, alias: Mapping[str, str]) -> Iterable[FaultWindow]:
    records: dict[str, list[FaultRecord]] = {}
    for record in history.faults():
        records.setdefault(record.step, []).append(record)
    begun = {
        step: began
        for step, of_step in records.items()
        if of_step[0].kind not in _POINT_KINDS and (began := _first(of_step, "injecting", "bit")) is not None
    }
    for step in sorted(begun, key=lambda step: begun[step]):
        of_step = records[step]
        injected = begun[step]
        heal_began = _first(of_step, "healing", "healed")
        healed = _first(of_step, "healed")
        targets = tuple(dict.fromkeys(alias.get(t, t) for r in of_step for t in r.targets))
        later = [time for time in begun.values() if time > injected]
        kind = of_step[0].kind
        planned = next((s for s in history.plan.timeline if s.id == step), None)
        sides = _sides(planned, of_step, alias) if kind == "partition" else ()
        pairs = _concerned(kind, targets, sides, alias)
        # a pair already apart when the fault began can not be seen to part
        parted = _parted_before(history, alias, injected)
        pairs = frozenset(pair for pair in pairs if frozenset(pair) not in parted)
        until = healed if healed is not None else heal_began
        detected_by = _detections(history, alias, pairs, injected, FOREVER if until is None else until)
        # one that was itself killed or paused before it noticed can not be waited for
        felled = _felled(records, alias, step, injected, FOREVER if until is None else until)
        observers = frozenset(observer for observer, _ in pairs) - (felled - detected_by.keys())
        yield FaultWindow(
            step=step,
            name=step_name(history.plan, step, kind),
            kind=kind,
            targets=targets,
            injected=injected,
            bit=_first(of_step, "bit"),
            heal_began=heal_began,
            healed=healed,
            whole=_whole_again(history, alias, records, pairs, injected, healed, min(later, default=FOREVER)),
            observers=observers,
            detected_by=detected_by,
            clock_error=_clock_error(history, alias, observers, injected, FOREVER if until is None else until),
            sides=sides,
        )


def step_name(plan: Plan, step: str, kind: str) -> str:
    """What to call a step before people: its own name, its kind where that is the only one, else kind and id."""
    planned = next((s for s in plan.timeline if s.id == step), None)
    if planned is not None and planned.name:
        return planned.name
    return kind if sum(s.kind == kind for s in plan.timeline) == 1 else f"{kind} {step}"


def _first(records: Iterable[FaultRecord], *stages: str) -> int | None:
    for stage in stages:
        for record in records:
            if record.stage == stage:
                return record.time
    return None


def _sides(planned: Any, records: list[FaultRecord], alias: Mapping[str, str]) -> tuple[frozenset[str], ...]:
    """A partition's groups, as journalled where they were resolved at run time, else as planned."""
    groups = next((r.detail["groups"] for r in records if "groups" in r.detail), None)
    if groups is None:
        groups = getattr(planned.action, "groups", ()) if planned is not None else ()
    return tuple(frozenset(alias.get(node, node) for node in group) for group in groups)


def _concerned(
    kind: str, targets: tuple[str, ...], sides: tuple[frozenset[str], ...], alias: Mapping[str, str]
) -> frozenset[tuple[str, str]]:
    """(observer, peer) for every loss that a node has to notice."""
    if kind == "partition":
        groups = [tuple(side) for side in sides]
        return frozenset((observer, peer) for peer, observer in cut_pairs(groups, set(alias.values())))
    if kind in ("kill", "pause"):
        others = set(alias.values()) - set(targets)
        return frozenset((observer, target) for observer in others for target in targets)
    return frozenset()


def _felled(
    records: Mapping[str, list[FaultRecord]], alias: Mapping[str, str], step: str, since: int, until: int
) -> set[str]:
    """Nodes that another fault kept killed or paused for a while of this one."""
    felled: set[str] = set()
    for other, of_step in records.items():
        began, ended = _first(of_step, "injecting", "bit"), _first(of_step, "healed")
        if other == step or of_step[0].kind not in ("kill", "pause") or began is None:
            continue
        if began <= until and (ended is None or ended >= since):
            felled |= {alias.get(target, target) for record in of_step for target in record.targets}
    return felled


def _parted_before(history: History, alias: Mapping[str, str], time: int) -> set[Pair]:
    apart: set[Pair] = set()
    for seen in _sightings(history, alias):
        if seen[0] >= time:
            break
        _, layer, parts, pair = seen
        if layer == "node":
            (apart.add if parts else apart.discard)(pair)
    return apart


def _detections(
    history: History, alias: Mapping[str, str], pairs: frozenset[tuple[str, str]], since: int, until: int
) -> dict[str, int]:
    """Observer -> when it had noticed the loss of each of its peers; observers that missed one are left out."""
    noticed: dict[tuple[str, str], int] = {}
    for event in history.observations("nodedown"):
        pair = (alias.get(event.node, event.node), alias.get(event.peer, event.peer))
        if pair in pairs and since <= event.time <= until:
            noticed[pair] = min(event.time, noticed.get(pair, FOREVER))
    observers = {observer for observer, _ in pairs}
    return {
        observer: max(noticed[pair] for pair in pairs if pair[0] == observer)
        for observer in observers
        if all(pair in noticed for pair in pairs if pair[0] == observer)
    }


def _clock_error(
    history: History, alias: Mapping[str, str], observers: frozenset[str], since: int, until: int
) -> float:
    """The largest error (s) that a nodedown of these nodes carries; 0 where all share one clock."""
    return max(
        (
            float(event.detail.get("error_ns", 0)) / 1e9
            for event in history.observations("nodedown")
            if since <= event.time <= until and alias.get(event.node, event.node) in observers
        ),
        default=0.0,
    )


_LAYERS: Final = {
    "nodedown": ("node", True),
    "nodeup": ("node", False),
    "mnesia_down": ("mnesia", True),
    "mnesia_up": ("mnesia", False),
    "inconsistent_database": ("mnesia", True),
}


def _sightings(history: History, alias: Mapping[str, str]) -> list[tuple[int, str, bool, Pair]]:
    """(time, layer, parted?, pair) of all observations of one cluster node about another, in order of time."""
    seen = []
    for event in history.observations(*_LAYERS):
        node, peer = alias.get(event.node), alias.get(event.peer)
        if node is not None and peer is not None and node != peer:
            seen.append((event.time, *_LAYERS[event.event], frozenset((node, peer))))
    return sorted(seen, key=lambda sighting: sighting[0])


def _whole_again(
    history: History,
    alias: Mapping[str, str],
    records: Mapping[str, list[FaultRecord]],
    pairs: frozenset[tuple[str, str]],
    injected: int,
    healed: int | None,
    next_fault: int,
) -> int | None:
    """The first moment from ``healed`` on at which nobody misses anybody and recovery has ended.

    Nodes may lose each other only after the fault is healed: TCP waits longer each time it sends again, and meanwhile
    ``net_ticktime`` runs out.
    """
    if healed is None:
        return None
    earliest = healed
    for of_step in records.values():
        began = _first(of_step, "injecting")
        if of_step[0].kind != "recover" or began is None or not healed <= began < next_fault:
            continue
        ended = [r for r in of_step if r.stage in _ENDED]
        if not ended or ended[-1].stage in ("failed", "not_bitten"):
            return None
        earliest = max(earliest, ended[-1].time)
    apart: set[tuple[str, Pair]] = set()
    sightings = _sightings(history, alias)
    concerned = {frozenset(pair) for pair in pairs}
    losses = [t for t, _, parts, pair in sightings if parts and pair in concerned and injected <= t < next_fault]
    if losses and losses[0] > earliest:
        earliest = losses[0]
    elif not sightings or sightings[0][0] > earliest:  # nobody had lost anybody
        return earliest
    for at, (time, layer, parts, pair) in enumerate(sightings):
        (apart.add if parts else apart.discard)((layer, pair))
        following = sightings[at + 1][0] if at + 1 < len(sightings) else FOREVER
        if not apart and following > earliest:
            return max(time, earliest)
    return None
