"""partition: groups of nodes that hear nothing of each other; nodes in no group stay with everyone.

Each node drops what comes from the other groups, so a cut pair is cut at both ends. What drops are set elements that
the kernel forgets after ``LIFETIME`` unless they are renewed: a cut outlives its injector by seconds, never longer.
Only addresses of nodes are ever listed, so the harness itself is heard throughout.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, cast

from harness.cluster.each import on_each
from harness.errors import HarnessError
from harness.faults import nft
from harness.faults.fault import Evidence, Situation, until
from harness.faults.links import judge, prepare, probe, read_tables
from harness.scenario import actions
from harness.scenario.groups import cut_pairs

if TYPE_CHECKING:
    from harness.scenario.plan import PlannedStep

LIFETIME = 4.0  # seconds an element lives
RENEWAL = 1.0  # seconds between renewals
_PROOF = 5.0  # seconds the verification may take
_HELPER = 2.0  # seconds one command may take: shorter than LIFETIME, so that a stuck helper is noticed in time


class Partition:
    def __init__(self, step: PlannedStep, situation: Situation) -> None:
        action = cast(actions.Partition, step.action)
        names = tuple(node.name for node in situation.plan.nodes)
        self.targets = tuple(name for name in names if name in action.nodes_named())
        self.separates = cut_pairs(action.groups, names)
        self._situation = situation
        self._step = step.id
        self._name = nft.cut_name(step.id)
        self._deaf = {b: sorted(a for a, to in self.separates if to == b) for _, b in self.separates}
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"renew-{step.id}", daemon=True)
        self._commands = threading.Lock()  # a renewal under way must not follow the heal
        self._renewed: dict[str, int] = {}  # node -> when the last renewal of its elements began
        self._started = self._in_force = self._lifted = 0

    def prepare(self) -> None:
        prepare(self._situation.cluster)

    def inject(self) -> None:
        self._started = time.monotonic_ns()
        with self._commands:
            on_each(self._deaf, lambda node: self._run(node, nft.cut(self._name, self._sources(node), LIFETIME)))
        self._in_force = time.monotonic_ns()
        self._renewing.start()

    def bit(self) -> Evidence:
        evidence = until(lambda: judge(probe(self._situation.cluster, self._name), self.separates), _PROOF)
        tables = read_tables(self._situation.cluster)
        detail = {
            "pairs": [list(pair) for pair in sorted(self.separates)],
            "started_ns": self._started,
            "in_force_ns": self._in_force,
            "spread_ns": self._in_force - self._started,
            "dropped_packets": {node: tables[node].hits.get(self._name, 0) for node in sorted(self._deaf)},
        }
        return Evidence(evidence.ok, {**detail, **evidence.detail}, self._in_force)

    def heal(self) -> None:
        self._mark_lapse()
        self._over.set()
        started = time.monotonic_ns()
        with self._commands:
            on_each(self._deaf, lambda node: self._run(node, nft.heal(self._name)))
        self._started, self._lifted = started, time.monotonic_ns()

    def healed(self) -> Evidence:
        evidence = until(lambda: judge(probe(self._situation.cluster, self._name), frozenset()), _PROOF)
        detail = {
            "started_ns": self._started,
            "lifted_ns": self._lifted,
            "spread_ns": self._lifted - self._started,
        }
        return Evidence(evidence.ok, {**detail, **evidence.detail}, self._lifted)

    def _sources(self, node: str) -> list[str]:
        return [self._situation.cluster.nodes[name].address for name in self._deaf[node]]

    def _run(self, node: str, script: str) -> None:
        began = time.monotonic_ns()
        self._situation.cluster.nodes[node].helper.run(nft.command(script), timeout=_HELPER)
        self._renewed[node] = began

    def _mark_lapse(self) -> None:
        """A process that stood still may come to heal before it comes to renew: the gap is then only seen here."""
        if self._over.is_set() or not self._renewed:
            return  # healed already, or never in force
        node, renewed = self._oldest()
        gap = (time.monotonic_ns() - renewed) / 1e9
        if gap > LIFETIME:
            self._missed(node, gap, "not renewed before it was healed")

    def _oldest(self) -> tuple[str, int]:
        """The node whose renewal lies furthest back, and when it began."""
        return min(self._renewed.items(), key=lambda item: item[1])

    def _renew(self) -> None:
        while not self._over.wait(RENEWAL):
            with self._commands:
                if self._over.is_set():
                    return
                try:
                    on_each(self._deaf, self._renew_on)
                except Exception as error:  # a defect here must not end the renewals, nor stay unsaid
                    node, renewed = self._oldest()
                    self._missed(node, (time.monotonic_ns() - renewed) / 1e9, f"{type(error).__name__}: {error}")

    def _renew_on(self, node: str) -> None:
        """Renew one node's elements. A gap in the cut, or one that can't be ruled out, makes the run inconclusive."""
        helper, sources, previous = self._situation.cluster.nodes[node].helper, self._sources(node), self._renewed[node]
        problem = ""
        try:
            table = nft.parse(helper.run(nft.listing(), timeout=_HELPER))
            self._run(node, nft.renew(self._name, sources, LIFETIME))
            if missing := sorted(set(sources) - table.cuts.get(self._name, frozenset())):
                problem = f"no longer cut from {', '.join(missing)}"
        except HarnessError as error:
            problem = str(error)
        gap = (time.monotonic_ns() - previous) / 1e9
        if gap > LIFETIME or (problem and self._renewed[node] != previous):
            self._missed(node, gap, problem or "renewed too late")

    def _missed(self, node: str, gap: float, problem: str) -> None:
        detail = {"step": self._step, "node": node, "gap_s": round(gap, 3), "lifetime_s": LIFETIME}
        self._situation.mark("renewal_missed", {**detail, "problem": problem})
