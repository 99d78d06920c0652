"""The clock of a run: starts each step of the timeline when it is due, proves it, ends it, and tells all of it.

One thread waits for what is due next; each step then runs in a thread of its own: journal, act, prove, hold, heal,
prove. Whatever happens in a step is journalled and stays there: a fault never ends the run that it is part of.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.bus import Bus
from harness.errors import HarnessError
from harness.faults.awaited import ENDING, awaited
from harness.faults.fault import Evidence, Fault, Situation
from harness.faults.registry import FAULTS
from harness.history import FaultRecord, JournalEvent, Mark
from harness.scenario.plan import Plan, PlannedStep
from harness.store import RunDir

if TYPE_CHECKING:
    from harness.cluster.cluster import Cluster

Journal = Callable[[JournalEvent], None]
_MARGIN = 30.0  # seconds that ending a step may take beyond the start of a node
_LAST_WORDS = 2.0  # seconds for proofs on a way out; who wants all of them calls stop first


class Injector:
    """Runs ``plan.timeline`` against a cluster.

    ``journal`` writes an event to disk and publishes it on ``bus``. ``discarded``: table -> operation ids that
    recoveries dropped, sorted; also in the run folder as ``final/discarded-<table>.u64`` (little endian).
    ``trouble`` is the first error of the journal itself; no fault is injected after it.
    """

    def __init__(self, plan: Plan, cluster: Cluster, journal: Journal, bus: Bus, rundir: RunDir | None = None) -> None:
        self.discarded: dict[str, npt.NDArray[np.uint64]] = {}
        self.trouble: HarnessError | None = None
        self._plan = plan
        self._journal = journal
        self._bus = bus
        self._rundir = rundir
        self._situation = Situation(cluster, plan, self._mark, self._discard)
        self._names = {node.node_name: node.name for node in plan.nodes}
        self._changed = threading.Condition()
        self._due: list[tuple[int, int, PlannedStep]] = []  # ns, order in the plan, step
        self._waiting: dict[str, list[PlannedStep]] = defaultdict(list)  # by the id of what they come after
        self._order = itertools.count()
        self._left = 0
        self._ending = threading.Event()
        self._closed = False
        self._acts: list[_Act] = []

    # --- the run's side ---

    def prepare(self) -> None:
        """Try what the plan's faults need, before there is load. Raises FaultUnsupported."""
        steps = {(step.kind, step.action.nodes_named()): step for step in self._plan.timeline}
        for step in steps.values():
            FAULTS[step.kind](step, self._situation).prepare()

    def start(self, t0_ns: int) -> None:
        """Begin; ``t0_ns`` is when full load was reached, from which ``at`` counts."""
        for step in self._plan.timeline:
            self._record(step, "planned", targets=step.action.nodes_named())
        with self._changed:
            self._left = len(self._plan.timeline)
            for step in self._plan.timeline:
                if step.after is None:
                    self._schedule(step, t0_ns + round(((step.at or 0.0) + step.delay) * 1e9))
                else:
                    self._waiting[step.after].append(step)
        threading.Thread(target=self._tick, name="faults", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Until every step has ended; False at the timeout (s)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._left == 0, timeout)

    def stop(self, timeout: float | None = None) -> bool:
        """Load has ended: skip what is not due yet, end what lasts, and wait until all of it is proven healed."""
        self._end()
        return self.wait(self._plan.ready_within + _MARGIN if timeout is None else timeout)

    def standing(self) -> tuple[str, ...]:
        """The ids of the steps whose effect is not undone."""
        return tuple(act.step.id for act in tuple(self._acts) if act.standing)

    def heal_all(self, timeout: float = 10.0) -> tuple[str, ...]:
        """Heal whatever is left, side by side, and go quiet. For any way out; again it does nothing more.

        Returns the ids of the steps that could not be healed in time; for cuts the kernel does it seconds later.
        """
        self._end()
        deadline = time.monotonic() + timeout
        healers = [(act, threading.Thread(target=act.heal, name="heal", daemon=True)) for act in tuple(self._acts)]
        for _, healer in healers:
            healer.start()
        for _, healer in healers:
            healer.join(max(0.0, deadline - time.monotonic()))
        self.wait(min(_LAST_WORDS, max(0.0, deadline - time.monotonic())))
        with self._changed:
            self._closed = True
        return self.standing()

    # --- the clock ---

    def _schedule(self, step: PlannedStep, due: int) -> None:
        heapq.heappush(self._due, (due, next(self._order), step))
        self._changed.notify_all()

    def _tick(self) -> None:
        with self._changed:
            while self._left and not self._ending.is_set():
                now = time.monotonic_ns()
                while self._due and self._due[0][0] <= now:
                    due, _, step = heapq.heappop(self._due)
                    threading.Thread(target=self._run, args=(step, due), name=f"step-{step.id}", daemon=True).start()
                self._changed.wait((self._due[0][0] - now) / 1e9 if self._due else None)
            skipped = [step for _, _, step in self._due] + [s for held in self._waiting.values() for s in held]
            self._due, self._waiting = [], defaultdict(list)
        for step in skipped:
            self._record(step, "skipped", {"reason": "load ended before its time"})
            self._ended(step)

    def _ended(self, step: PlannedStep) -> None:
        late: list[PlannedStep] = []
        with self._changed:
            following = self._waiting.pop(step.id, [])
            for next_step in following:
                if self._ending.is_set():
                    late.append(next_step)
                else:
                    self._schedule(next_step, time.monotonic_ns() + round(next_step.delay * 1e9))
            self._left -= 1
            self._changed.notify_all()
        for next_step in late:
            self._record(next_step, "skipped", {"reason": "load ended before its time"})
            self._ended(next_step)

    def _end(self) -> None:
        if not self._ending.is_set():
            self._ending.set()
            self._bus.publish(Mark(time.monotonic_ns(), ENDING))
        with self._changed:
            self._changed.notify_all()

    # --- one step ---

    def _run(self, step: PlannedStep, due: int) -> None:
        act: _Act | None = None
        try:
            act = _Act(step, FAULTS[step.kind](step, self._situation))
            self._acts.append(act)
            self._perform(act, due)
        except HarnessError as error:
            self._record(step, "failed", {"error": str(error)}, act)
        except Exception as error:  # a defect in one fault: told like any other failure, the run goes on
            self._record(step, "failed", {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, act)
        finally:
            if act is not None and act.begun:
                self._undo(act)
            self._ended(step)

    def _perform(self, act: _Act, due: int) -> None:
        step, began = act.step, time.monotonic_ns()
        if not self._record(step, "injecting", {"due_ns": due}, act, began):
            return  # what cannot be journalled is not done
        if not act.inject():
            self._record(step, "skipped", {"reason": "the run is ending"}, act)
            return
        evidence = act.fault.bit()
        self._prove(act, "bit" if evidence.ok else "not_bitten", evidence)
        if step.action.lasting:
            act.ended = self._hold(act, began, evidence.time or time.monotonic_ns())

    def _hold(self, act: _Act, began: int, effect: int) -> str:
        """Until the step is over; says why it is."""
        step = act.step
        if step.until is not None:
            seen = awaited(step.until, act.fault.separates, self._names, began)
            met = self._bus.wait_for(seen, step.until.timeout)
            return "load ended" if self._ending.is_set() else "event" if met else "timeout"
        if step.lasts is None:
            self._ending.wait()
            return "load ended"
        left = (effect - time.monotonic_ns()) / 1e9 + step.lasts
        return "load ended" if self._ending.wait(max(0.0, left)) else "lasted"

    def _undo(self, act: _Act) -> None:
        if not act.step.action.lasting:
            return
        self._record(act.step, "healing", {"ended": act.ended}, act)
        try:
            act.heal_or_raise()
            evidence = act.fault.healed()
        except Exception as error:  # as in _run: told, and the other faults still heal
            evidence = Evidence(False, {"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        self._prove(act, "healed" if evidence.ok else "not_healed", evidence)

    # --- told ---

    def _prove(self, act: _Act, stage: str, evidence: Evidence) -> None:
        """Dated by when the effect began; the proof came later."""
        detail = {**evidence.detail, "proved_ns": time.monotonic_ns()}
        self._record(act.step, stage, detail, act, evidence.time)

    def _record(
        self, step: PlannedStep, stage: str, detail: Mapping[str, Any] | None = None, act: _Act | None = None,
        at: int | None = None, targets: tuple[str, ...] = (),
    ) -> bool:  # fmt: skip
        """Journal a stage; False when it could not be, or the run's journal is closed."""
        involved = act.fault.targets if act else targets or step.action.nodes_named()
        when = time.monotonic_ns() if at is None else at
        return self._tell(FaultRecord(when, step.id, step.kind, stage, involved, detail or {}))

    def _mark(self, name: str, detail: Mapping[str, Any]) -> None:
        self._tell(Mark(time.monotonic_ns(), name, detail))

    def _tell(self, event: JournalEvent) -> bool:
        if self._closed:
            return False
        try:
            self._journal(event)
        except HarnessError as error:  # disk full: the run's main thread meets it as well; here we only have to heal
            self.trouble = self.trouble or error
            return False
        return True

    def _discard(self, table: str, ids: npt.NDArray[np.uint64]) -> None:
        with self._changed:
            known = np.union1d(self.discarded.get(table, ids), ids)
            self.discarded[table] = known
        if self._rundir is not None:
            (self._rundir.final / f"discarded-{table}.u64").write_bytes(known.astype("<u8").tobytes())


class _Act:
    """One step under way. Injecting and healing exclude each other; what was healed first is never injected."""

    def __init__(self, step: PlannedStep, fault: Fault) -> None:
        self.step = step
        self.fault = fault
        self.begun = False
        self.ended = "failed"
        self._over = False  # nothing may be injected any more
        self._healed = False
        self._lock = threading.Lock()

    @property
    def standing(self) -> bool:
        return self.begun and self.step.action.lasting and not self._healed

    def inject(self) -> bool:
        """Act, unless it is over already."""
        with self._lock:
            if self._over:
                return False
            self.begun = True
            self.fault.inject()
            return True

    def heal_or_raise(self) -> None:
        with self._lock:
            self._over = True
            if self.standing:
                self.fault.heal()
                self._healed = True

    def heal(self) -> None:
        """As far as it goes: what fails stays ``standing``."""
        try:
            self.heal_or_raise()
        except HarnessError:
            return
