"""The one definition of when a run was in which phase.

before      until the first fault
undetected  a fault is in force and not every node concerned has noticed (nodedown)
detected    every node concerned has noticed, the fault is still in force
healing     from the order to heal until the cluster is whole again
after       no fault in force and the cluster whole

Whole again: every pair of nodes that lost each other (nodedown, mnesia_down) has been seen together again (nodeup,
mnesia_up, on either end), and every recovery step that followed has ended. Where faults overlap, the moment belongs to
the worst: undetected, then detected, then healing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from harness.history import FaultRecord, History
from harness.scenario.groups import cut_pairs
from harness.scenario.plan import Plan

PHASES: Final = ("before", "undetected", "detected", "healing", "after")
_SEVERITY: Final = {"undetected": 3, "detected": 2, "healing": 1}
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


class Timeline:
    """Faults and phases of a run. ``origin``: full load (ns), what ``at`` in a scenario counts from."""

    def __init__(self, history: History, alias: Mapping[str, str]) -> None:
        self._alias = alias
        self.origin, self.load_end = _load_span(history)
        self.windows = tuple(_windows(history, alias))
        self.intervals = tuple(_intervals(self.windows))
        self._starts = np.array([start for _, start, _ in self.intervals], dtype=np.int64)
        self._names = np.array([PHASES.index(name) for name, _, _ in self.intervals], dtype=np.int8)

    def phase_at(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """Index into PHASES for each time (ns)."""
        found: npt.NDArray[np.int8] = self._names[np.searchsorted(self._starts, times, side="right") - 1]
        return found

    def phase_of(self, due: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """Index into PHASES for each operation due and ended then (ns; end -1: never).

        The phase it was due in; but one that a fault caught in the midst of a calm phase belongs to the fault, or the
        latency of calm phases would be the fault's.
        """
        found = self.phase_at(due)
        calm = np.isin(found, [PHASES.index("before"), PHASES.index("after")])
        until = np.where(end < 0, FOREVER, end)
        for name, start, _ in self.intervals:
            if name == "undetected":
                found[calm & (due < start) & (until >= start)] = PHASES.index(name)
        return found

    def lasting(self, phase: str) -> float:
        """Seconds of the load that fell into a phase."""
        spans = (
            min(end, self.load_end) - max(start, self.origin) for name, start, end in self.intervals if name == phase
        )
        return sum(span for span in spans if span > 0) / 1e9

    def relative(self, time: int) -> float:
        """Seconds since full load."""
        return (time - self.origin) / 1e9

    def tell(self, time: int) -> str:
        """Where in the run a moment lies, in words: ``3.2 s into cut (partition), undetected``."""
        phase = PHASES[int(self.phase_at(np.array([time]))[0])]
        begun = [w for w in self.windows if w.injected <= time]
        if not begun:
            return f"{self.relative(time):.1f} s into the load, before any fault"
        last = max(begun, key=lambda w: w.injected)
        label = last.name if last.name == last.kind else f"{last.name} ({last.kind})"
        if last.heal_began is not None and time >= last.heal_began:
            return f"{(time - last.heal_began) / 1e9:.1f} s after healing of {label} began, {phase}"
        return f"{(time - last.injected) / 1e9:.1f} s into {label}, {phase}"


def _load_span(history: History) -> tuple[int, int]:
    """From full load to its end; from the operations themselves where the run left no marks."""
    began = [m.time for m in history.marks("phase") if m.detail.get("phase") == "load"]
    ended = [m.time for m in history.marks("phase") if m.detail.get("phase") in ("stopping", "quiesce")]
    intended = history.operations.intended
    times = [event.time for event in history.events]
    origin = began[0] if began else int(intended.min()) if len(intended) else min(times, default=0)
    if ended:
        return origin, max(ended[0], origin)
    return origin, int(intended.max()) if len(intended) else max(times, default=origin)


def _windows(history: History, alias: Mapping[str, str]) -> Iterable[FaultWindow]:
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
            whole=_whole_again(history, alias, records, healed, min(later, default=FOREVER)),
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
    healed: int | None,
    next_fault: int,
) -> int | None:
    """The first moment from ``healed`` on at which nobody misses anybody and recovery has ended."""
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
    for at, (time, layer, parts, pair) in enumerate(sightings):
        (apart.add if parts else apart.discard)((layer, pair))
        following = sightings[at + 1][0] if at + 1 < len(sightings) else FOREVER
        if not apart and following > earliest:
            return max(time, earliest)
    return None if apart else earliest


def _intervals(windows: tuple[FaultWindow, ...]) -> Iterable[tuple[str, int, int]]:
    """(phase, start, end) without gaps from the beginning of time to its end."""
    spans: list[tuple[str, int, int]] = []
    for w in windows:
        heal = FOREVER if w.heal_began is None else w.heal_began
        detected = heal if w.detected is None else min(w.detected, heal)
        spans.append(("undetected", w.injected, detected))
        spans.append(("detected", detected, heal))
        spans.append(("healing", heal, FOREVER if w.whole is None else w.whole))
    first = windows[0].injected if windows else FOREVER
    edges = sorted({0, FOREVER, *(edge for _, start, end in spans for edge in (start, end))})
    merged: list[tuple[str, int, int]] = []
    for start, end in pairwise(edges):
        active = [name for name, begin, stop in spans if begin <= start < stop]
        calm = "before" if start < first else "after"
        name = max(active, key=lambda phase: _SEVERITY[phase], default=calm)
        if merged and merged[-1][0] == name:
            merged[-1] = (name, merged[-1][1], end)
        else:
            merged.append((name, start, end))
    return merged
