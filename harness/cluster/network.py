"""A run's networks: user-defined bridges with a subnet of 198.18.0.0/15, the range reserved for benchmarks."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.labels import labels
from harness.errors import EnvironmentProblem

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
_FIRST_NODE = 16  # host part of the first node; below it: gateway and relay
_RELAY = 2
_ATTEMPTS = 20
_ROUTES = Path("/proc/net/route")


@dataclass(frozen=True, slots=True)
class Network:
    """A network of a run. ``internal``: nothing leaves it."""

    id: str
    name: str
    subnet: ipaddress.IPv4Network

    @property
    def gateway(self) -> str:
        return str(self.subnet[1])

    @property
    def relay_address(self) -> str:
        return str(self.subnet[_RELAY])

    def addresses(self, count: int) -> list[str]:
        """Addresses for so many nodes."""
        return [str(self.subnet[_FIRST_NODE + index]) for index in range(count)]


def create_network(engine: Engine, run_id: str, purpose: str, hosts: int, *, internal: bool) -> Network:
    """A labelled network for ``hosts`` containers on a free subnet. Raises EnvironmentProblem when none is free."""
    name = f"harness-{run_id}" + (f"-{purpose}" if purpose else "")
    prefix = next(p for p in range(24, 15, -1) if 2 ** (32 - p) >= hosts + _FIRST_NODE + 2)
    try:
        for _, subnet in zip(range(_ATTEMPTS), free_subnets(taken(engine), prefix, name), strict=False):
            pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                made = engine.client.api.create_network(
                    name, driver="bridge", internal=internal, check_duplicate=True,
                    ipam=IPAMConfig(pool_configs=[pool]), labels=labels(run_id, "network"),
                )  # fmt: skip
            except APIError as error:
                # Another run took it between our look and our request: the next one, then.
                if "overlap" in str(error.explanation) or "already used" in str(error.explanation):
                    continue
                raise
            return Network(str(made["Id"]), name, subnet)
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"create network {name}", error) from error
    raise EnvironmentProblem(
        f"create network {name}", f"no free subnet in {RANGE}", "harness clean removes what dead runs left"
    )


def attached(engine: Engine, network: Network, address: str | None = None) -> Any:
    """What a container is created with to stand on the network, at this address if one is given."""
    api = engine.client.api
    endpoints: Any = {network.name: api.create_endpoint_config(ipv4_address=address)}
    return api.create_networking_config(endpoints)


def free_subnets(used: Iterable[ipaddress.IPv4Network], prefix: int, name: str) -> Iterator[ipaddress.IPv4Network]:
    """Subnets of RANGE that overlap none of ``used``, beginning at a place that depends on ``name``."""
    occupied = list(used)
    subnets = list(RANGE.subnets(new_prefix=prefix))
    begin = zlib.crc32(name.encode()) % len(subnets)
    for subnet in subnets[begin:] + subnets[:begin]:
        if not any(subnet.overlaps(other) for other in occupied):
            yield subnet


def taken(engine: Engine) -> list[ipaddress.IPv4Network]:
    """Subnets in use: of the engine's networks and of this host's routes (the default route aside)."""
    used: list[ipaddress.IPv4Network] = []
    for network in engine.client.api.networks():
        for pool in (network.get("IPAM") or {}).get("Config") or []:
            if "." in (subnet := str(pool.get("Subnet", ""))):
                used.append(ipaddress.IPv4Network(subnet, strict=False))
    used += routes(_ROUTES.read_text()) if _ROUTES.exists() else []
    return used


def routes(table: str) -> list[ipaddress.IPv4Network]:
    """Destinations in the format of /proc/net/route (little-endian hexadecimal), without the default route."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and int(fields[7], 16):
            address, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
            found.append(ipaddress.IPv4Network((address, mask.bit_count()), strict=False))
    return found
