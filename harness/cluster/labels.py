"""The labels by which everything of ours is known: nothing without them is ever touched."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from harness.store import process_start

RUN = "harness.run"
ROLE = "harness.role"
NODE = "harness.node"
OWNER = "harness.owner"
HOST = "harness.host"

Role = Literal["node", "helper", "relay", "network", "volume"]


def labels(run_id: str, role: Role, node: str = "") -> dict[str, str]:
    """Labels of one thing that belongs to a run owned by this process."""
    pid = os.getpid()
    told = {RUN: run_id, ROLE: role, OWNER: f"{pid}:{process_start(pid)}", HOST: this_host()}
    return {**told, NODE: node} if node else told


def this_host() -> str:
    """Host, boot and pid namespace in which an owner's pid means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        pids = Path("/proc/self/ns/pid").readlink().name.partition("[")[2].rstrip("]")
    except OSError:
        boot = pids = ""
    return f"{socket.gethostname()}/{boot}/{pids}"


def owner_state(told: dict[str, str]) -> Literal["alive", "dead", "unknown"]:
    """Whether the process that made a labelled thing still lives; unknown when it lived on another host."""
    host, here = told.get(HOST, "").split("/"), this_host().split("/")
    if len(host) != 3 or host[0] != here[0]:
        return "unknown"
    if host[1] != here[1]:
        return "dead"  # this host has been booted since
    if host[2] != here[2]:
        return "unknown"
    pid, _, start = told.get(OWNER, "").partition(":")
    if not pid.isdigit():
        return "unknown"
    return "alive" if process_start(int(pid)) == start != "" else "dead"
