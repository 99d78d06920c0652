"""``harness_probe`` in every node: loaded where it lacks, started, started again after a restart of the node."""

from __future__ import annotations

from collections.abc import Callable

from harness.cluster.cluster import Cluster
from harness.cluster.each import on_each
from harness.cluster.formation import load_probe
from harness.cluster.node import Node
from harness.errors import EnvironmentProblem, RemoteError

MODULE = "harness_probe"


def install(cluster: Cluster) -> None:
    """Start the probe process on every node. Raises DistError, or EnvironmentProblem."""
    on_each(cluster.nodes, lambda name: ensure_started(cluster.nodes[name], cluster.probe_beam))


def ensure_started(node: Node, beam: Callable[[], bytes], timeout: float = 5.0) -> None:
    """Idempotent. Raises DistError, or EnvironmentProblem when the node cannot run the probe."""
    try:
        answer = node.rpc(MODULE, "start", [{}], timeout)
    except RemoteError:  # not there: a foreign node, or one that was started again
        load_probe(node, beam())
        answer = node.rpc(MODULE, "start", [{}], timeout)
    if answer != "ok":
        raise EnvironmentProblem("start harness_probe", repr(answer), "see the node's log", node=node.name)
