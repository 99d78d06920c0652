"""What a run stood on, for ``env.json``: engine, images, kernel, OTP, versions. No secret is in it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from harness import __version__
from harness.cluster.cluster import Cluster
from harness.cluster.engine import Engine
from harness.cluster.image import image_facts
from harness.scenario.plan import Plan
from harness.store import anchors

_LIBRARIES = ("locust", "docker", "numpy", "prometheus-client", "pydantic", "gevent")


def describe(engine: Engine, cluster: Cluster | None, plan: Plan) -> dict[str, Any]:
    """What is known, without a cluster that does not stand yet. Shape:
    ``{harness, python, libraries, machine, engine, clock, seed, nodes: {n1: {otp, image: {...}}}}``."""
    return {
        "harness": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "machine": {"system": platform.system(), "kernel": platform.release(), "processor": platform.machine()},
        "engine": engine.facts(),
        "clock": anchors(),
        "seed": plan.seed,
        **(_cluster(engine, cluster) if cluster is not None else {}),
    }


def _cluster(engine: Engine, cluster: Cluster) -> dict[str, Any]:
    return {
        "network": {"name": cluster.network_name, "subnet": cluster.subnet},
        "nodes": {
            node.name: {
                "node_name": node.node_name,
                "otp": node.otp_release(),
                "image": image_facts(engine, node.image),
            }
            for node in cluster.nodes.values()
        },
    }
