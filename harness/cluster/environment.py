"""What a node is told: environment, command and volumes of its container. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cluster.certificates import FLAGS
from harness.scenario.plan import Plan, PlannedNode, PlannedTable

_FOREIGN_PORTS = 9  # beside the first: a console or an eval in the container may be a node as well


def node_environment(plan: Plan, node: PlannedNode, cookie: str, port: int) -> dict[str, str]:
    """Environment of a node's container; the scenario's own settings come last and win.

    Ours takes NODE_*. Another release takes kernel parameters from ERL_ZFLAGS, which OTP appends to its own flags.
    """
    told = {
        "NODE_NAME": node.node_name,
        "NODE_COOKIE": cookie,
        "NODE_PEERS": ",".join(peer.node_name for peer in plan.nodes),
    }
    if not node.image:
        told |= {
            "NODE_TICKTIME": str(plan.kernel.net_ticktime),
            "NODE_TICKINTENSITY": str(plan.kernel.net_tickintensity),
            "NODE_PREVENT_OVERLAPPING": "true" if plan.kernel.prevent_overlapping_partitions else "false",
            "NODE_DIST_MIN": str(port),
            "NODE_DIST_MAX": str(port),
            "NODE_TABLES": tables_text(plan),
        }
    own = {key: filled(value, node, cookie) for key, value in node.environment.items()}
    told |= own
    told["ERL_ZFLAGS"] = " ".join(part for part in (own.get("ERL_ZFLAGS", ""), zflags(plan, node, port)) if part)
    return told if told["ERL_ZFLAGS"] else {key: value for key, value in told.items() if key != "ERL_ZFLAGS"}


def zflags(plan: Plan, node: PlannedNode, port: int) -> str:
    """Kernel parameters that the node does not take from NODE_* variables, and TLS."""
    kernel = plan.kernel
    parameters: dict[str, object] = {}
    if node.image:
        parameters = {
            "net_ticktime": kernel.net_ticktime,
            "net_tickintensity": kernel.net_tickintensity,
            "prevent_overlapping_partitions": str(kernel.prevent_overlapping_partitions).lower(),
            "inet_dist_listen_min": port,
            "inet_dist_listen_max": port + _FOREIGN_PORTS,
        }
    if kernel.net_setuptime is not None:
        parameters["net_setuptime"] = kernel.net_setuptime
    words = [f"-kernel {name} {value}" for name, value in parameters.items()]
    return " ".join([*words, FLAGS] if plan.tls else words)


def filled(text: str, node: PlannedNode, cookie: str) -> str:
    """``{host}``, ``{node_name}``, ``{node}`` and ``{cookie}`` replaced; other braces are left as they are."""
    values = {"host": node.host, "node_name": node.node_name, "node": node.name, "cookie": cookie}
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def node_command(node: PlannedNode, cookie: str) -> list[str] | None:
    """The command of the container, None for the image's own."""
    if node.command is None:
        return None
    words = shlex.split(node.command) if isinstance(node.command, str) else list(node.command)
    return [filled(word, node, cookie) for word in words]


def node_binds(plan: Plan, node: PlannedNode, run_id: str) -> tuple[list[str], list[str]]:
    """(binds, named volumes). A named volume belongs to the run; a relative path starts at the scenario's folder."""
    binds, volumes = [], []
    for written in node.volumes:
        source, _, rest = filled(written, node, "").partition(":")
        if source.startswith((".", "~")):
            path = Path(source).expanduser()
            source = str(path if path.is_absolute() else Path(plan.source).parent.joinpath(path).resolve())
        elif not source.startswith("/"):
            source = f"harness-{run_id}-{source}"
            volumes.append(source)
        binds.append(f"{source}:{rest}")
    return binds, volumes


def table_options(plan: Plan, table: PlannedTable) -> list[tuple[str, object]]:
    """Options of ``mnesia:create_table``: copies by storage as node names, then majority."""
    options: list[tuple[str, object]] = []
    for storage in ("ram_copies", "disc_copies", "disc_only_copies"):
        names = [plan.node(name).node_name for name, kept in table.copies.items() if kept == storage]
        if names:
            options.append((storage, names))
    return [*options, ("majority", table.majority)]


def tables_text(plan: Plan) -> str:
    """The plan's tables as NODE_TABLES takes them: Erlang terms as text."""
    tables = [
        f"{{{_atom(table.name)}, [{', '.join(_option(*option) for option in table_options(plan, table))}]}}"
        for table in plan.tables
    ]
    return f"[{', '.join(tables)}]"


def _option(name: str, value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{{{name}, [{', '.join(_atom(str(word)) for word in value)}]}}"
    return f"{{{name}, {json.dumps(value)}}}"


def _atom(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def hosts(plan: Plan, addresses: Mapping[str, str], gateway: str) -> dict[str, str]:
    """What /etc/hosts of every node says: all nodes and the harness, so that nothing measured asks Docker's DNS."""
    ours = {"harness", plan.nodes[0].host.replace(plan.nodes[0].name, "harness", 1)}  # with long names both are used
    return {**{node.host: addresses[node.name] for node in plan.nodes}, **dict.fromkeys(sorted(ours), gateway)}
