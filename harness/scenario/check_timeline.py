"""Contradictions in a timeline: faults that cannot happen, at times they cannot happen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.scenario.actions import Action, Kill, Partition, Pause, Rpc
from harness.scenario.document import Document, Path
from harness.scenario.expectations import suggest
from harness.scenario.groups import cut_pairs
from harness.scenario.schema import Scenario, Step
from harness.scenario.timeline import Placed, TimelineError, place, spans, walk

# What a step may wait for: ``detected``, and what nodes and probes report (Observation.event).
EVENTS = (
    "detected", "nodedown", "nodeup", "mnesia_down", "mnesia_up", "inconsistent_database", "mnesia_stopped",
    "mnesia_started", "mnesia_overload", "busy_dist_port", "consistent", "backlog_zero",
)  # fmt: skip
_EPSILON = 1e-6  # seconds; sums of written times are binary fractions


class KnownNodes:
    """The nodes of a cluster; every other name is a mistake at its position. Where none is known, any may be one."""

    def __init__(self, nodes: Sequence[str], document: Document) -> None:
        self.nodes = tuple(nodes)
        self.say = document.add

    def one(self, name: str, path: Path) -> bool:
        if name in self.nodes or not self.nodes:
            return True
        close = suggest(name, self.nodes)
        known = ", ".join(self.nodes[:8]) + (", ..." if len(self.nodes) > 8 else "")
        self.say(path, f"no node is called {name!r}{close or f'; there are {known}'}")
        return False

    def all(self, names: Sequence[str], path: Path) -> None:
        for index, name in enumerate(names):
            if self.one(name, (*path, index)) and name in names[:index]:
                self.say((*path, index), f"node {name} is named twice")


def check_timeline(scenario: Scenario, document: Document, known: KnownNodes) -> None:
    """Add every contradiction of the timeline to the document."""
    checker = _Timeline(scenario, document, known)
    checker.steps()
    checker.times()


class _Timeline:
    def __init__(self, scenario: Scenario, document: Document, known: KnownNodes) -> None:
        self.scenario = scenario
        self.say = document.add
        self.known = known

    def steps(self) -> None:
        first: dict[str, Path] = {}
        for path, step in walk(self.scenario.timeline):
            if step.name and first.setdefault(step.name, path) != path:
                self.say((*path, "name"), f"two steps are called {step.name!r}")
            if step.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", step.name):
                self.say((*path, "name"), f"step name {step.name!r}: use letters, digits, dash, underscore, dot")
            self._schedule(path, step)
            if step.action is not None:
                self._action(path, step.action)

    def _schedule(self, path: Path, step: Step) -> None:
        top = len(path) == 2
        action = step.action
        if step.for_ is not None and step.until is not None:
            self.say((*path, "until"), "for and until exclude one another", at_key=True)
        if step.at is not None and step.after is not None and top:
            self.say((*path, "after"), "at and after exclude one another; pauses go into a sequence", at_key=True)
        if step.at is None and step.after is None and top:
            self.say(path, "a step needs at: (seconds from full load) or after: (a step's name)")
        if step.times is not None and step.every is None:
            self.say((*path, "times"), "times needs every:", at_key=True)
        if action is None:
            for key, value in (("for", step.for_), ("until", step.until)):
                if value is not None:
                    self.say((*path, key), f"{key}: goes to the steps inside, not around them", at_key=True)
            return
        if not type(action).lasting:
            for key, value in (("for", step.for_), ("until", step.until)):
                if value is not None:
                    self.say((*path, key), f"{key}: {action.kind} acts once and does not last", at_key=True)
        elif step.for_ == 0 and not isinstance(action, Kill):
            self.say((*path, "for"), f"a {action.kind} of 0s does nothing")
        if step.until is not None and step.until.event not in EVENTS:
            event = step.until.event
            known = suggest(event, EVENTS) or f"; there are {', '.join(EVENTS)}"
            self.say((*path, "until"), f"until: nothing is observed as {event!r}{known}")
        if step.until is not None and step.until.node:
            self.known.one(step.until.node, (*path, "until", "node"))

    def _action(self, path: Path, action: Action) -> None:
        here: Path = (*path, action.kind)
        if isinstance(action, Partition):
            group_of: dict[str, int] = {}
            for number, group in enumerate(action.groups):
                if not group:
                    self.say((*here, "groups", number), "a group without nodes cuts nothing")
                for index, node in enumerate(group):
                    spot: Path = (*here, "groups", number, index)
                    if not self.known.one(node, spot):
                        continue
                    other = group_of.setdefault(node, number)
                    if other != number:
                        self.say(spot, f"node {node} is in two groups ({other + 1} and {number + 1})")
                    elif node in group[:index]:
                        self.say(spot, f"node {node} is named twice")
        else:
            key = next((k for k in ("nodes", "masters", "on") if hasattr(action, k)), "")
            self.known.all(action.nodes_named(), (*here, key))
        if action.kind == "recover" and self.scenario.cluster.mnesia is None:
            self.say(here, "recover needs Mnesia; declare cluster.mnesia", at_key=True)

    def times(self) -> None:
        duration = self.scenario.duration
        if duration <= 0:
            self.say(("duration",), "duration: a run lasts longer than 0s")
            return
        placed = self._placed(duration)
        times = spans(placed, duration)
        told: set[Path] = set()  # once per step, however often it is repeated
        for step in placed:
            if step.path not in told and self._outside(step, times[step.id], duration):
                told.add(step.path)
        self._overlaps([step for step in placed if step.path not in told], times)

    def _placed(self, duration: float) -> Sequence[Placed]:
        """All steps that can be placed; one that cannot is told and stands aside for the others."""
        steps = list(self.scenario.timeline)
        while True:
            try:
                return place(steps, duration, self.scenario.seed)
            except TimelineError as error:
                self.say(error.path, str(error))
                if len(error.path) < 2:
                    return ()
                index = int(error.path[1])
                aside = Rpc(module="erlang", function="node")
                if steps[index].rpc == aside:
                    return ()
                steps[index] = Step(name=steps[index].name, at=0, rpc=aside)

    def _outside(self, step: Placed, span: tuple[float, float], duration: float) -> bool:
        begin, end = span
        if begin + step.slack >= duration - _EPSILON:
            self.say(step.path, f"{step.id} would begin at {_s(begin + step.slack)}, but the run lasts {_s(duration)}")
        elif end + step.slack > duration + _EPSILON and step.lasts is not None:
            late = _s(end + step.slack)
            self.say((*step.path, "for"), f"{step.id} would end at {late}, but the run lasts {_s(duration)}")
        else:
            return False
        return True

    def _overlaps(self, placed: Sequence[Placed], times: dict[str, tuple[float, float]]) -> None:
        told: set[tuple[Path, Path]] = set()
        holding = [step for step in placed if step.action.lasting and step.until is None]
        for one, two in _overlapping(holding, times):
            if (one.path, two.path) in told:
                continue
            said = _contradiction(one, two, self.known.nodes)
            if said:
                told.add((one.path, two.path))
                begin, end = times[one.id]
                self.say((*two.path, two.kind), f"{said} ({one.id}: {_s(begin)} to {_s(end)})", at_key=True)


def _overlapping(steps: Sequence[Placed], times: dict[str, tuple[float, float]]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs that last at the same time, the earlier one first."""
    active: list[Placed] = []
    for two in sorted(steps, key=lambda step: times[step.id]):
        active = [one for one in active if times[one.id][1] > times[two.id][0] + _EPSILON]
        yield from ((one, two) for one in active)
        active.append(two)


def _contradiction(one: Placed, two: Placed, nodes: Sequence[str]) -> str:
    """What cannot be when ``two`` begins while ``one`` lasts; empty when it can."""
    if isinstance(one.action, Partition) and isinstance(two.action, Partition):
        cut = cut_pairs(one.action.groups, nodes)
        new = cut_pairs(two.action.groups, nodes)
        if new and new <= cut:
            return f"partition: {one.id} has already cut all of this"
        return ""
    if isinstance(one.action, Kill | Pause) and isinstance(two.action, Kill | Pause):
        shared = [node for node in two.action.nodes_named() if node in one.action.nodes_named()]
        if shared:
            state = "killed" if isinstance(one.action, Kill) else "paused"
            return f"{two.kind} of {', '.join(shared)}, which is {state} at that time"
    return ""


def _s(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
