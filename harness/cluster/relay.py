"""Where the nodes' network can't be reached from here: one container that publishes their distribution ports.

An internal network publishes no ports, so the relay stands on the run's network and on a second, ordinary one, and
forwards in user space: one listener per node.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.labels import labels
from harness.cluster.network import Network, attached, create_network
from harness.cluster.node import DIST_PORT
from harness.errors import EnvironmentProblem

_FIRST_PORT = 20001


def relay_wanted(engine: Engine, network: Network, expose: str) -> bool:
    """Whether the nodes have to be reached through a relay. HARNESS_FORCE_RELAY=1 says so in any case."""
    forced = os.environ.get("HARNESS_FORCE_RELAY", "") not in ("", "0")
    return bool(expose) or forced or not engine.bridge_reachable(network.gateway)


def start_relay(
    engine: Engine, run_id: str, image: str, inner: Network, addresses: Mapping[str, str], expose: str
) -> dict[str, tuple[str, int]]:
    """Publish the distribution port of each node (name -> address); returns name -> (host, port) to dial.

    ``expose`` is the address of the engine's host to publish on; without it loopback, or for a remote engine every
    address. Raises EnvironmentProblem.
    """
    bind = expose or ("0.0.0.0" if engine.remote_host else "127.0.0.1")
    dial = expose or engine.remote_host or "127.0.0.1"
    ports = {name: _FIRST_PORT + index for index, name in enumerate(addresses)}
    forward = "socat TCP-LISTEN:{0},fork,reuseaddr,nodelay,backlog=512 TCP:{1}:{2},nodelay &"
    script = "\n".join(forward.format(ports[name], addresses[name], DIST_PORT) for name in addresses)
    api = engine.client.api
    try:
        outer = create_network(engine, run_id, "relay", 1, internal=False)
        published: dict[int | str, Any] = dict.fromkeys(ports.values(), (bind, None))
        created = api.create_container(
            image,
            ["bash", "-c", f"{script}\nwait"],
            name=f"harness-{run_id}-relay",
            labels=labels(run_id, "relay"),
            ports=[(port, "tcp") for port in ports.values()],
            host_config=api.create_host_config(
                port_bindings=published, network_mode=outer.name, init=True, mem_limit="256m",
                restart_policy={"Name": "no"},
            ),
            networking_config=attached(engine, outer),
        )  # fmt: skip
        api.connect_container_to_network(created["Id"], inner.id, ipv4_address=inner.relay_address)
        api.start(created["Id"])
        bindings = api.inspect_container(created["Id"])["NetworkSettings"]["Ports"]
        return {name: (dial, int(bindings[f"{port}/tcp"][0]["HostPort"])) for name, port in ports.items()}
    except (DockerException, requests.RequestException) as error:
        if "cannot assign requested address" in str(error):
            raise EnvironmentProblem(
                "--expose", f"{expose} is no address of the engine's host", "ip address shows there which it has"
            ) from error
        raise engine_failed("start relay", error) from error
    except (KeyError, IndexError, TypeError) as error:
        raise EnvironmentProblem(
            "start relay", "the engine published no ports", "see that --expose names an address of its host"
        ) from error
