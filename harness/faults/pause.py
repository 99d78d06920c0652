"""pause: every process of a node frozen (cgroup freezer); its connections stay open and nothing answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from harness.cluster.each import on_each
from harness.faults.fault import Evidence, Situation, attempt, needs, until
from harness.faults.kill import silenced
from harness.scenario import actions

if TYPE_CHECKING:
    from harness.scenario.plan import PlannedStep

_PROOF = 10.0  # seconds the verification may take
_SILENCE = 0.25  # seconds without an answer from a node that otherwise answers in one millisecond


class Pause:
    def __init__(self, step: PlannedStep, situation: Situation) -> None:
        self.targets = cast(actions.Pause, step.action).nodes
        self.separates = silenced(situation, self.targets)
        self._nodes = {name: situation.cluster.nodes[name] for name in self.targets}
        self._frozen = 0

    def prepare(self) -> None:
        remedy = "pause needs the cgroup freezer: rootless engines have it with cgroup v2 and systemd"
        needs("pause", self.targets, lambda name: self._nodes[name].try_pause(), remedy)

    def inject(self) -> None:
        self._frozen = time.monotonic_ns()
        on_each(self.targets, lambda name: self._nodes[name].pause())

    def bit(self) -> Evidence:
        return until(lambda: self._look("paused", answering=False, since=self._frozen), _PROOF)

    def heal(self) -> None:
        on_each(self.targets, self._thaw)

    def healed(self) -> Evidence:
        return until(lambda: self._look("running", answering=True), _PROOF)

    def _thaw(self, name: str) -> None:
        if self._nodes[name].state() == "paused":
            self._nodes[name].unpause()

    def _look(self, state: str, answering: bool, since: int | None = None) -> Evidence:
        states = on_each(self.targets, lambda name: self._nodes[name].state())
        answers = on_each(self.targets, self._answers)
        ok = set(states.values()) == {state} and set(answers.values()) == {answering}
        return Evidence(ok, {"nodes": list(self.targets), "states": states, "answers": answers}, since)

    def _answers(self, name: str) -> bool:
        """Whether the node's clock, which any Erlang node has, can be read."""
        return attempt(lambda: self._nodes[name].rpc("os", "perf_counter", [], timeout=_SILENCE)) is not None
