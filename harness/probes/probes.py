"""All probes of a run behind one object."""

from __future__ import annotations

from collections.abc import Callable

from harness.bus import Bus
from harness.cluster.cluster import Cluster
from harness.cluster.each import on_each
from harness.cluster.node import Node
from harness.errors import DistError, HarnessError
from harness.history import JournalEvent, Mark, Observation
from harness.metrics import Figures
from harness.probes.consistency import Consistency
from harness.probes.detection import Detection
from harness.probes.install import MODULE, install
from harness.probes.lag import LagProbe
from harness.probes.membership import MembershipProbe
from harness.probes.watch import NodeWatch
from harness.scenario.plan import Plan
from harness.store import RunDir


class Probes:
    """Membership, replication lag and runtime figures of every node, from ``start`` to ``stop``.

    What is seen goes to ``journal`` (which publishes on the bus too); faults are heard from ``bus``.
    """

    def __init__(
        self,
        cluster: Cluster,
        plan: Plan,
        rundir: RunDir,
        journal: Callable[[JournalEvent], None],
        bus: Bus,
        metrics: Figures,
    ) -> None:
        self._cluster = cluster
        self._plan = plan
        self._journal = journal
        self._metrics = metrics
        self._lag = LagProbe(plan, rundir, metrics, journal)
        self._membership = MembershipProbe(plan, metrics, journal)
        self._consistency = Consistency(plan, self.backlog, self._reached)
        bus.subscribe(Detection(plan, self._detected).on_event)
        bus.subscribe(self._consistency.on_event)
        self._watches = [
            NodeWatch(
                node, self._membership, self._lag, self._consistency, metrics, cluster.probe_modules, self._failed
            )
            for node in cluster.nodes.values()
        ]

    def install(self) -> None:
        """The probe process on every node, the mirror tables. Raises DistError, EnvironmentProblem."""
        install(self._cluster)
        self._lag.create_tables(self._cluster.nodes)

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Stop asking, end what runs in the nodes that answer. Idempotent."""
        for watch in self._watches:
            watch.stop()
        on_each(self._cluster.nodes, lambda name: _end(self._cluster.nodes[name]))
        self._lag.close()

    def backlog(self) -> int:
        """Probe writes that replicas have yet to receive, over all tables."""
        return self._lag.backlog.total()

    def _detected(self, observation: Observation, kind: str, seconds: float) -> None:
        self._metrics.observe_recovery(kind, "detect", seconds)
        self._journal(observation)

    def _reached(self, observation: Observation, kind: str, seconds: float) -> None:
        self._metrics.observe_recovery(kind, "consistent", seconds)
        self._journal(observation)

    def _failed(self, mark: Mark) -> None:
        try:
            self._journal(mark)
        except HarnessError:  # the disk is full: whoever journals from the main thread says so
            return


def _end(node: Node) -> None:
    try:
        node.rpc(MODULE, "stop", (), 2.0)
    except DistError:
        return  # gone, and its probe with it
