"""Steps as written -> steps placed in time: repetitions unrolled, sequences and parallels flattened, shifts drawn.

Times are seconds from full load. A step starts at a fixed time, or when another one has ended; the latter stays
symbolic, since a restart or a detection takes as long as it takes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.scenario.actions import ACTIONS, Action
from harness.scenario.schema import Step, Until
from harness.scenario.seeded import Seeded

MAX_STEPS = 10_000  # occurrences in one run
MAX_WRITTEN = 1_000
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """``at`` seconds from full load, or ``delay`` seconds after the end of the step with id ``after``."""

    at: float = 0.0
    after: str = ""
    delay: float = 0.0

    def later(self, seconds: float) -> Start:
        if self.after:
            return Start(after=self.after, delay=self.delay + seconds)
        return Start(at=self.at + seconds)


@dataclass(frozen=True, slots=True)
class Placed:
    """One occurrence of one action. ``path``: where its step stands in the file; ``slack``: how much later another
    seed could have put it.
    """

    id: str
    name: str
    kind: str
    action: Action
    start: Start
    lasts: float | None
    until: Until | None
    path: Path
    slack: float

    @property
    def at(self) -> float | None:
        return None if self.start.after else self.start.at

    @property
    def after(self) -> str | None:
        return self.start.after or None

    @property
    def delay(self) -> float:
        return self.start.delay


class TimelineError(ValueError):
    """A step that cannot be placed; ``path`` says which."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def place(steps: Sequence[Step], duration: float, seed: int) -> tuple[Placed, ...]:
    """Place every step. Raises TimelineError for ``after`` of an unknown step, a cycle, or too many occurrences."""
    return _Placer(duration, seed).place(steps)


def walk(steps: Sequence[Step], path: Path = ("timeline",)) -> Iterator[tuple[Path, Step]]:
    """Every step and the steps it holds, depth first, with its path in the file."""
    for index, step in enumerate(steps):
        yield (*path, index), step
        for held in ("sequence", "parallel"):
            inner = getattr(step, held)
            if inner is not None:
                yield from walk(inner, (*path, index, held))


class _Placer:
    def __init__(self, duration: float, seed: int) -> None:
        self._duration = duration
        self._seed = seed
        self._placed: list[Placed] = []
        self._spans: dict[str, tuple[float, float]] = {}
        self._last: dict[str, str] = {}  # step name -> id of the occurrence whose end is its end
        self._names: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def place(self, steps: Sequence[Step]) -> tuple[Placed, ...]:
        written = list(walk(steps))
        if len(written) > MAX_WRITTEN:
            raise TimelineError(("timeline",), f"{len(written)} steps; at most {MAX_WRITTEN}")
        self._names = {step.name for _, step in written if step.name}
        for index in _in_order(steps):
            step, path = steps[index], ("timeline", index)
            self._step(step, path, self._begin(step, path, Start()), 0.0, False)
        order = {step.id: number for number, step in enumerate(self._placed)}
        return tuple(sorted(self._placed, key=lambda step: (self._spans[step.id][0], order[step.id])))

    def _begin(self, step: Step, path: Path, otherwise: Start) -> Start:
        start = otherwise
        if step.after:
            if step.after not in self._last:
                raise TimelineError((*path, "after"), f"no step called {step.after!r} has ended before this one")
            start = Start(after=self._last[step.after])
        return start.later(step.at or 0.0)

    def _step(self, step: Step, path: Path, begin: Start, slack: float, repeated: bool) -> str:
        """Place all occurrences of a step; the id whose end is the end of the last one."""
        shift = Seeded(self._seed, ".".join(map(str, path)))
        last = ""
        for number in range(self._occurrences(step, path, begin)):
            drawn = round(shift.ratio() * step.spread, 3)
            here = begin.later(number * (step.every or 0.0) + drawn)
            last = self._once(step, path, here, slack + step.spread - drawn, repeated or step.every is not None)
        if step.name:
            self._last[step.name] = last
        return last

    def _occurrences(self, step: Step, path: Path, begin: Start) -> int:
        if step.every is None:
            return 1
        if step.every <= 0:
            raise TimelineError((*path, "every"), "every: must be more than 0s")
        if step.times is not None:
            return step.times
        if begin.after:
            raise TimelineError((*path, "every"), "every: after another step needs times: as well")
        room = self._duration - begin.at - step.spread
        count = math.ceil(room / step.every) if step.for_ is None else (room - step.for_) // step.every + 1
        if count > MAX_STEPS:
            raise TimelineError((*path, "every"), f"more than {MAX_STEPS} occurrences in one run")
        return max(1, int(count))

    def _once(self, step: Step, path: Path, begin: Start, slack: float, repeated: bool) -> str:
        held = "sequence" if step.sequence is not None else "parallel"
        inner = getattr(step, held)
        if inner is None:
            return self._act(step, path, begin, slack, repeated)
        if not inner:
            raise TimelineError((*path, held), f"{held}: holds no steps")
        ends: list[str] = []
        for index, part in enumerate(inner):
            here = (*path, held, index)
            ends.append(self._step(part, here, self._begin(part, here, begin), slack, repeated))
            if held == "sequence":
                begin = Start(after=ends[-1])
        return max(ends, key=lambda step_id: self._spans[step_id][1]) if held == "parallel" else ends[-1]

    def _act(self, step: Step, path: Path, begin: Start, slack: float, repeated: bool) -> str:
        if len(self._placed) >= MAX_STEPS:
            raise TimelineError(path, f"more than {MAX_STEPS} steps in one run")
        kind = next(kind for kind in ACTIONS if getattr(step, kind) is not None)
        action: Action = getattr(step, kind)
        fresh = self._id(step.name, kind, repeated)
        placed = Placed(fresh, step.name, kind, action, begin, step.for_, step.until, path, slack)
        self._placed.append(placed)
        self._spans[fresh] = _span(placed, self._spans, self._duration)
        return fresh

    def _id(self, name: str, kind: str, repeated: bool) -> str:
        if name and not repeated:
            return name
        base = name or kind
        while True:
            self._numbers[base] += 1
            fresh = f"{base}-{self._numbers[base]}"
            if fresh not in self._names:  # a generated id never takes a given name
                return fresh


def _in_order(steps: Sequence[Step]) -> Iterator[int]:
    """Indices of the steps, each behind those it comes after. Raises TimelineError for names unknown and circles."""
    home: dict[str, int] = {}
    for path, step in walk(steps):
        if step.name:
            home.setdefault(step.name, int(path[1]))
    wants: dict[int, list[int]] = {index: [] for index in range(len(steps))}
    for path, step in walk(steps):
        if step.after is None:
            continue
        if step.after not in home:
            known = f" (there are {', '.join(home)})" if home else ""
            raise TimelineError((*path, "after"), f"no step is called {step.after!r}{known}")
        index = int(path[1])
        if home[step.after] != index or len(path) == 2:
            wants[index].append(home[step.after])
    done: set[int] = set()
    for index in range(len(steps)):
        trail = [index]
        while trail:
            here = trail[-1]
            missing = next((other for other in wants[here] if other not in done), None)
            if missing is None:
                trail.pop()
                if here not in done:
                    done.add(here)
                    yield here
            elif missing in trail:
                ring = [*trail[trail.index(missing) :], missing]
                told = " after ".join(steps[i].name or f"step {i + 1}" for i in ring)
                raise TimelineError(("timeline", here, "after"), f"steps wait for each other in a circle: {told}")
            else:
                trail.append(missing)


class Timed(Protocol):
    """What ``spans`` reads: a step placed here, or the same step in a Plan."""

    @property
    def id(self) -> str: ...
    @property
    def action(self) -> Action: ...
    @property
    def at(self) -> float | None: ...
    @property
    def after(self) -> str | None: ...
    @property
    def delay(self) -> float: ...
    @property
    def lasts(self) -> float | None: ...
    @property
    def until(self) -> Until | None: ...


def spans(steps: Sequence[Timed], duration: float) -> dict[str, tuple[float, float]]:
    """Id -> (start, end) in seconds as far as a plan can know: a step that ends at an event counts as instantaneous,
    a lasting one without an end as lasting until load ends. ``steps`` are in the order of ``place``.
    """
    known: dict[str, tuple[float, float]] = {}
    for step in steps:
        known[step.id] = _span(step, known, duration)
    return known


def _span(step: Timed, known: Mapping[str, tuple[float, float]], duration: float) -> tuple[float, float]:
    begin = known[step.after][1] + step.delay if step.after else step.at or 0.0
    if step.lasts is not None:
        return begin, begin + step.lasts
    return begin, max(begin, duration) if step.action.lasting and step.until is None else begin
