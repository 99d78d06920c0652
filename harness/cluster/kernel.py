"""What the engine's kernel can do to a network namespace, found out by doing it in a container of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.image import ensure_helper_image
from harness.cluster.labels import labels
from harness.cluster.once import ask

_PROBES = {
    "sets_with_timeout": "nft -f - <<< 'table ip t { set s { type ipv4_addr; flags timeout; };"
    " chain c { type filter hook input priority 0; ip saddr @s counter drop; }; }'"
    " && nft add element ip t s '{ 192.0.2.9 timeout 5s }'",
    "random_loss": "nft add table ip r && nft add chain ip r c && nft add rule ip r c numgen random mod 100 '<' 5 drop",
    "rate": "tc qdisc add dev lo root tbf rate 1mbit burst 32kbit latency 400ms && tc qdisc del dev lo root",
    "netem": "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root",
    "nfqueue": "iptables -A INPUT -p udp --dport 9 -j NFQUEUE --queue-num 7 --queue-bypass",
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """What works. ``told`` is one line for people."""

    sets_with_timeout: bool
    random_loss: bool
    rate: bool
    netem: bool
    nfqueue: bool
    told: str


def probe_kernel(engine: Engine, progress: Callable[[str], None] = lambda _: None) -> Kernel:
    """Try each mechanism in a fresh namespace (about a second). Raises EnvironmentProblem."""
    image = ensure_helper_image(engine, progress)
    script = "\n".join(f"( {probe} ) >/dev/null 2>&1 && echo {name}" for name, probe in _PROBES.items())
    try:
        said = ask(
            engine, image, ["bash", "-c", script], network_mode="none", cap_add=["NET_ADMIN"],
            labels=labels("doctor", "helper"),
        )  # fmt: skip
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("probe the kernel", error) from error
    works = set(said.decode().split())
    missing = [name for name in _PROBES if name not in works]
    told = "nft, tc and NFQUEUE all work" if not missing else f"without {', '.join(missing)}"
    return Kernel(**{name: name in works for name in _PROBES}, told=told)
