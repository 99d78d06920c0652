"""The two containers of a node: the helper that owns its network namespace, and the node that joins it.

The node joins the helper and not the other way round: after a kill and a start it is back in the same namespace, with
the same name, address and rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import requests
from docker.errors import DockerException, NotFound

from harness.cluster.certificates import deliver
from harness.cluster.engine import Engine, engine_failed
from harness.cluster.environment import node_binds, node_command, node_environment
from harness.cluster.labels import labels
from harness.cluster.netns import Netns
from harness.cluster.network import Network, attached
from harness.cluster.node import DIST_PORT
from harness.dist.tls import Credentials
from harness.errors import ImageMissing
from harness.scenario.plan import Plan, PlannedNode

_NO_RESTART = {"Name": "no"}
_HELPER_MEMORY = 128 * 1024**2


def start_helper(
    engine: Engine, run_id: str, node: PlannedNode, image: str, network: Network, address: str,
    hosts: Mapping[str, str],
) -> Netns:  # fmt: skip
    """The container that owns the node's namespace: host name, fixed address, /etc/hosts, NET_ADMIN."""
    api = engine.client.api
    try:
        created = api.create_container(
            image,
            ["sleep", "infinity"],
            name=f"harness-{run_id}-{node.name}-net",
            hostname=node.host,
            labels=labels(run_id, "helper", node.name),
            host_config=api.create_host_config(
                network_mode=network.name, cap_add=["NET_ADMIN"], extra_hosts=dict(hosts), init=True,
                mem_limit=_HELPER_MEMORY, restart_policy=_NO_RESTART,
            ),
            networking_config=attached(engine, network, address),
        )  # fmt: skip
        api.start(created["Id"])
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("start helper", error, node.name) from error
    return Netns(engine, str(created["Id"]), node.name)


def start_node(
    engine: Engine, plan: Plan, run_id: str, node: PlannedNode, image: str, helper_id: str, cookie: str,
    credentials: Credentials | None,
) -> str:  # fmt: skip
    """The node's container, in the helper's network namespace; its id. No capability is added.

    ``credentials``: for distribution over TLS.
    """
    api = engine.client.api
    binds, volumes = node_binds(plan, node, run_id)
    try:
        for volume in volumes:
            api.create_volume(volume, labels=labels(run_id, "volume"))
        created = api.create_container(
            image,
            node_command(node, cookie),
            name=f"harness-{run_id}-{node.name}",
            labels=labels(run_id, "node", node.name),
            environment=node_environment(plan, node, cookie, DIST_PORT),
            volumes=[bind.split(":")[1] for bind in binds] or None,
            host_config=api.create_host_config(
                network_mode=f"container:{helper_id}", init=True, mem_limit=node.memory, binds=binds or None,
                restart_policy=_NO_RESTART,
            ),
        )  # fmt: skip
        if credentials is not None:
            deliver(engine, created["Id"], credentials, node.name)
        api.start(created["Id"])
    except NotFound as error:
        raise ImageMissing(f"image {image}", "it is not here any more", "run again", node=node.name) from error
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("start node", error, node.name) from error
    return str(created["Id"])
