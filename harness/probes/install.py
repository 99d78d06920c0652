"""``harness_probe`` in every node: loaded where it is missing, started, started again after a restart of the node."""

from __future__ import annotations

from collections.abc import Callable

from harness.cluster.cluster import Cluster
from harness.cluster.each import on_each
from harness.cluster.modules import Modules, load_modules
from harness.cluster.node import Node
from harness.errors import EnvironmentProblem

MODULE = "harness_probe"


def install(cluster: Cluster) -> None:
    """Start the probe process on every node. Raises DistError, or EnvironmentProblem."""
    on_each(cluster.nodes, lambda name: ensure_started(cluster.nodes[name], cluster.probe_modules))


def ensure_started(node: Node, modules: Callable[[], Modules], timeout: float = 5.0) -> None:
    """Idempotent. Raises DistError, or EnvironmentProblem when the node cannot run the probe."""
    if node.foreign:  # a node of ours has them in its image
        load_modules(node, modules(), timeout)
    answer = node.rpc(MODULE, "start", [{}], timeout)
    if answer != "ok":
        raise EnvironmentProblem("start harness_probe", repr(answer), "see the node's log", node=node.name)
