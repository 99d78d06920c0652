"""A running cluster: networks, helpers, nodes; ready when it is one cluster; gone when it is left."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.cluster.bases import Progress
from harness.cluster.certificates import Authority
from harness.cluster.container import start_helper, start_node
from harness.cluster.each import on_all
from harness.cluster.engine import Engine
from harness.cluster.environment import hosts
from harness.cluster.formation import bring_back, form
from harness.cluster.image import ensure_helper_image, ensure_node_image, use_image
from harness.cluster.modules import probe_modules
from harness.cluster.network import Network, create_network
from harness.cluster.node import DIST_PORT, Node
from harness.cluster.relay import relay_wanted, start_relay
from harness.cluster.sweep import remove_run
from harness.dist.tls import Credentials
from harness.errors import EnvironmentProblem
from harness.scenario.plan import Plan, PlannedNode


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """Where load reaches a node: scenario name, Erlang name, host and port to dial."""

    node: str
    node_name: str
    host: str
    port: int


class Cluster:
    """Made by ``start``; a context manager that removes on exit. ``nodes`` by scenario name, in the plan's order."""

    def __init__(
        self, engine: Engine, plan: Plan, run_id: str, cookie: str, network: Network, nodes: Mapping[str, Node],
        tls: Credentials | None, progress: Progress,
    ) -> None:  # fmt: skip
        self.run_id = run_id
        self.cookie = cookie
        self.tls = tls  # our own, where the cluster's distribution is over TLS
        self.network_name = network.name
        self.subnet = str(network.subnet)
        self.gateway = network.gateway
        self.nodes = dict(nodes)
        self.otp = ""
        self.probe_modules = cache(partial(probe_modules, engine, progress))  # the same ones to the run's end
        self._engine = engine
        self._plan = plan

    @classmethod
    def start(
        cls, plan: Plan, cookie: str, run_id: str, engine: Engine, progress: Progress, *, expose: str = ""
    ) -> Cluster:
        """Start the plan's nodes in parallel and wait until they are one cluster with its tables loaded.

        An empty ``cookie`` is replaced by a random one. ``expose``: address of the engine's host on which a relay
        publishes the distribution ports. Raises EnvironmentProblem and its kin (ClusterNotFormed with a node's last
        log lines, ImageMissing); whatever is raised, KeyboardInterrupt included, nothing stays behind.
        """
        cookie = cookie or secrets.token_hex(16)
        images = _images(engine, plan, progress)
        helper_image = ensure_helper_image(engine, progress)
        cluster: Cluster | None = None
        given_up = threading.Event()
        pool = ThreadPoolExecutor(max(4, min(32, len(plan.nodes))), thread_name_prefix="cluster")
        try:
            began = time.monotonic()
            network = create_network(engine, run_id, "", len(plan.nodes), internal=True)
            addresses = dict(zip((n.name for n in plan.nodes), network.addresses(len(plan.nodes)), strict=True))
            dial = {name: (address, DIST_PORT) for name, address in addresses.items()}
            relayed = relay_wanted(engine, network, expose)
            named = hosts(plan, addresses, network.gateway)
            if relayed:
                progress("publishing the nodes' ports through a relay")
                dial = start_relay(engine, run_id, helper_image, network, addresses, expose)
            local = observer_name(plan, "ctl")
            authority = Authority() if plan.tls else None
            tls = authority.credentials(local.partition("@")[2]) if authority else None
            context = tls.client_context() if tls else None

            def start_one(planned: PlannedNode) -> Node:
                helper = start_helper(engine, run_id, planned, helper_image, network, addresses[planned.name], named)
                named_in = (planned.node_name.partition("@")[2], planned.host, addresses[planned.name])
                container = start_node(
                    engine, plan, run_id, planned, images[planned.name], helper.container_id, cookie,
                    authority.credentials(*named_in) if authority else None,
                )  # fmt: skip
                return Node(
                    engine, planned, image=images[planned.name], container_id=container, helper=helper,
                    address=addresses[planned.name], dial=dial[planned.name], cookie=cookie,
                    local=local, ticktime=plan.kernel.net_ticktime, tls=context,
                )  # fmt: skip

            started = on_all(pool, start_one, plan.nodes)
            nodes = {node.name: node for node in started}
            cluster = cls(engine, plan, run_id, cookie, network, nodes, tls, progress)
            progress(f"{len(nodes)} nodes started on {network.name} ({network.subnet})")
            cluster.otp = form(
                plan, cluster.nodes, cluster.probe_modules, partial(on_all, pool), given_up, progress
            )  # fmt: skip
            progress(f"cluster ready after {time.monotonic() - began:.1f} s")
        except BaseException:
            given_up.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if cluster is not None:
                cluster._close()
            remove_run(engine, run_id)
            raise
        pool.shutdown(wait=False)
        return cluster

    def observer_name(self, slot: str) -> str:
        """The harness's own node name for a connection slot: fixed, since every new name stays in the nodes."""
        return observer_name(self._plan, slot)

    def load_targets(self) -> list[NodeTarget]:
        """Where load reaches each node."""
        return [NodeTarget(node.name, node.node_name, *node.dial) for node in self.nodes.values()]

    def bring_back(self, reached: Mapping[str, Iterable[str]], timeout: float) -> None:
        """After a restart of these nodes: each gets again what it got when the cluster formed.

        Each comes with the running nodes that no cut keeps from it. Raises DistError, EnvironmentProblem.
        """
        found = {self.nodes[name]: [self.nodes[other] for other in others] for name, others in reached.items()}
        for node, others in found.items():
            running = (other.state() == "running" for other in self.nodes.values() if other is not node)
            if node.foreign and self._plan.tables and not others and any(running):
                raise EnvironmentProblem(
                    "rejoin", "a cut keeps it from every other node: Mnesia would start with a schema of its own",
                    "heal the cut before the node is started again", node=node.name,
                )  # fmt: skip
        bring_back(self._plan, found, self.probe_modules, timeout)

    def save_logs(self, folder: Path) -> None:
        """Write each node's whole log to ``<node>.log``. Raises EnvironmentProblem, after writing what it could."""
        folder.mkdir(parents=True, exist_ok=True)

        def save(node: Node) -> EnvironmentProblem | None:
            try:
                (folder / f"{node.name}.log").write_text(node.logs("all"))
            except EnvironmentProblem as error:
                return error
            return None

        with ThreadPoolExecutor(8) as pool:
            for error in list(pool.map(save, self.nodes.values())):
                if error is not None:
                    raise error

    def remove(self) -> None:
        """End all connections and remove every container, network and volume of the run. Idempotent."""
        self._close()
        remove_run(self._engine, self.run_id)

    def _close(self) -> None:
        for node in self.nodes.values():
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def observer_name(plan: Plan, slot: str) -> str:
    """``harness-<slot>@harness``, with the nodes' domain where they use long names."""
    domain = plan.nodes[0].node_name.partition("@")[2].partition(".")[2]
    return f"harness-{slot}@harness" + (f".{domain}" if domain else "")


def _images(engine: Engine, plan: Plan, progress: Progress) -> dict[str, str]:
    """Scenario name -> image reference; each image is asked for once."""
    wanted = {(node.image, node.otp, node.base) for node in plan.nodes}
    found: dict[tuple[str, int | None, str], str] = {}
    for image, otp, base in sorted(wanted, key=str):
        if image:
            found[image, otp, base] = use_image(engine, image, progress)
        elif otp is None:
            raise EnvironmentProblem("choose image", "neither an image nor an OTP release is given")
        else:
            found[image, otp, base] = ensure_node_image(engine, otp, base, progress)
    return {node.name: found[node.image, node.otp, node.base] for node in plan.nodes}
