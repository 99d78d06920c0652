"""The one definition of when a run was in which phase.

before      until the first fault
undetected  a fault is in force and not every node concerned has noticed (nodedown)
detected    every node concerned has noticed, the fault is still in force
healing     from the order to heal until the cluster is whole again
after       no fault in force and the cluster whole

Whole again: see harness.checkers.windows. Where faults overlap, the moment belongs to the worst: undetected, then
detected, then healing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.checkers.windows import FOREVER, FaultWindow, fault_windows
from harness.history import ENDED, History

PHASES: Final = ("before", "undetected", "detected", "healing", "after")
_SEVERITY: Final = {"undetected": 3, "detected": 2, "healing": 1}


class Timeline:
    """Faults and phases of a run. ``origin``: full load (ns), what ``at`` in a scenario counts from."""

    def __init__(self, history: History, alias: Mapping[str, str]) -> None:
        self._alias = alias
        self.origin, self.load_end = _load_span(history)
        self.windows = tuple(fault_windows(history, alias))
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
    """From full load to its end: as marked, when the run was given up, or when its owner was killed; without any of
    these to the last that was recorded."""
    began = [m.time for m in history.marks("phase") if m.detail.get("phase") == "load"]
    ended = [m.time for m in history.marks("phase") if m.detail.get("phase") in ("stopping", "quiesce")]
    ended += [mark.time for mark in history.marks(ENDED)]
    ended += [m.time - round(float(m.detail.get("seconds", 0.0)) * 1e9) for m in history.marks("watchdog")]
    intended = history.operations.intended
    times = [event.time for event in history.events]
    origin = began[0] if began else int(intended.min()) if len(intended) else min(times, default=0)
    recorded = (*times, *(int(column.max()) for column in (intended, history.operations.end) if len(column)))
    return origin, max(ended[0] if ended else max(recorded, default=origin), origin)


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
