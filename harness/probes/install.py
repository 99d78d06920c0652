"""``harness_probe`` in every node: loaded where it lacks, started, started again after a restart of the node."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from harness.cluster.cluster import Cluster
from harness.cluster.formation import load_probe
from harness.cluster.node import Node
from harness.errors import EnvironmentProblem, RemoteError

MODULE = "harness_probe"
T = TypeVar("T")


def on_each(nodes: dict[str, Node], act: Callable[[Node], T]) -> dict[str, T]:
    """``act`` on all nodes at the same time; the first error is raised after all have ended."""
    if not nodes:
        return {}
    with ThreadPoolExecutor(len(nodes), thread_name_prefix="probes") as pool:
        futures = {name: pool.submit(act, node) for name, node in nodes.items()}
    return {name: future.result() for name, future in futures.items()}


def install(cluster: Cluster) -> None:
    """Start the probe process on every node. Raises DistError, or EnvironmentProblem."""
    on_each(cluster.nodes, lambda node: ensure_started(node, cluster.probe_beam))


def ensure_started(node: Node, beam: Callable[[], bytes], timeout: float = 5.0) -> None:
    """Idempotent. Raises DistError, or EnvironmentProblem when the node cannot run the probe."""
    try:
        answer = node.rpc(MODULE, "start", [{}], timeout)
    except RemoteError:  # not there: a foreign node, or one that was started again
        load_probe(node, beam())
        answer = node.rpc(MODULE, "start", [{}], timeout)
    if answer != "ok":
        raise EnvironmentProblem("start harness_probe", repr(answer), "see the node's log", node=node.name)
