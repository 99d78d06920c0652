"""kill: SIGKILL to the container of a node; healed by starting it again and letting it rejoin.

The kernel still closes the dead node's connections, so its peers notice at once. The death of a machine is a
partition around the kill: cut, kill, stay cut until restarted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from harness.cluster.each import on_each
from harness.errors import HarnessError
from harness.faults.fault import Evidence, Situation, needs, until
from harness.faults.links import standing_cuts
from harness.scenario import actions
from harness.scenario.groups import Pair

if TYPE_CHECKING:
    from harness.scenario.plan import PlannedStep

_EXIT = 10.0  # seconds a container may take to be gone


class Kill:
    def __init__(self, step: PlannedStep, situation: Situation) -> None:
        self.targets = cast(actions.Kill, step.action).nodes
        self.separates = silenced(situation, self.targets)
        self._situation = situation
        self._nodes = {name: situation.cluster.nodes[name] for name in self.targets}
        self._struck = self._restarted = 0

    def prepare(self) -> None:
        remedy = "the engine has to let containers be signalled: see whether docker kill works there"
        needs("kill", self.targets, lambda name: self._nodes[name].try_kill(), remedy)

    def inject(self) -> None:
        self._struck = time.monotonic_ns()
        on_each(self.targets, lambda name: self._nodes[name].kill())

    def bit(self) -> Evidence:
        return until(lambda: self._states("exited", self._struck), _EXIT)

    def heal(self) -> None:
        self._restarted = time.monotonic_ns()
        on_each(self.targets, self._start)

    def healed(self) -> Evidence:
        plan = self._situation.plan
        deadline = time.monotonic() + plan.ready_within
        try:
            on_each(self.targets, lambda name: self._nodes[name].wait_ready(plan.ready_within, plan.health))
            self._situation.cluster.bring_back(self._reached(), deadline - time.monotonic())
        except HarnessError as error:
            return Evidence(False, {**self._states("running").detail, "error": str(error)})
        return until(self._rejoined, max(0.0, deadline - time.monotonic()), pause=0.1)

    def _start(self, name: str) -> None:
        if self._nodes[name].state() == "exited":
            self._nodes[name].start()

    def _states(self, wanted: str, since: int | None = None) -> Evidence:
        states = on_each(self.targets, lambda name: self._nodes[name].state())
        return Evidence(set(states.values()) == {wanted}, {"nodes": list(self.targets), "states": states}, since)

    def _rejoined(self) -> Evidence:
        """Running, answering, and connected with every running node that no standing cut keeps away."""
        names = {node.node_name: name for name, node in self._situation.cluster.nodes.items()}
        missing: dict[str, list[str]] = {}
        for name, expected in self._reached().items():
            try:
                connected = {names.get(peer, peer) for peer in self._nodes[name].rpc("erlang", "nodes")}
            except HarnessError as error:
                missing[name] = [str(error)]
                continue
            if expected - connected:
                missing[name] = sorted(expected - connected)
        evidence = self._states("running")
        detail = {**evidence.detail, "restarted_ns": self._restarted, "not_connected": missing}
        return Evidence(evidence.ok and not missing, detail)

    def _reached(self) -> dict[str, set[str]]:
        """Each target with the other running nodes that no standing cut keeps from it."""
        cluster = self._situation.cluster
        running = {name for name, node in cluster.nodes.items() if node.state() == "running"}
        cut = any(step.kind == "partition" for step in self._situation.plan.timeline)
        cuts = standing_cuts(cluster) if cut else frozenset()  # a kernel without nf_tables can kill all the same
        return {
            name: {peer for peer in running - {name} if not {(peer, name), (name, peer)} & cuts}
            for name in self.targets
        }


def silenced(situation: Situation, nodes: tuple[str, ...]) -> frozenset[Pair]:
    """Every ordered pair from one of these nodes to one of the others."""
    others = [node.name for node in situation.plan.nodes if node.name not in nodes]
    return frozenset((silent, other) for silent in nodes for other in others)
