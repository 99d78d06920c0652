"""What things are called and where they live: nodes, hosts, Erlang names, copies of tables, operations."""

from __future__ import annotations

from typing import Literal

from harness.scenario.schema import Cluster, Load, NodeOptions, Storage, Table


def node_options(cluster: Cluster) -> dict[str, NodeOptions]:
    """Scenario node name -> its own options; a number n stands for n1..nN."""
    if isinstance(cluster.nodes, int):
        return {f"n{number}": NodeOptions() for number in range(1, cluster.nodes + 1)}
    if isinstance(cluster.nodes, tuple):
        return {name: NodeOptions() for name in cluster.nodes}
    return dict(cluster.nodes)


def node_host(cluster: Cluster, name: str) -> str:
    """The host name of a node; with ``domain`` it has a dot, and Erlang then uses long names."""
    domain = cluster.domain.strip(".")
    return f"{name}.{domain}" if domain else name


def erlang_name(cluster: Cluster, name: str) -> str:
    """The Erlang name of a node."""
    return cluster.node_name.replace("{node}", name).replace("{host}", node_host(cluster, name))


def table_copies(table: Table, names: tuple[str, ...]) -> dict[str, Storage]:
    """Node -> storage, in the order of the nodes."""
    placed: dict[str, Storage] = {}
    storages: tuple[Storage, ...] = ("ram_copies", "disc_copies", "disc_only_copies")
    for storage in storages:
        held: Literal["all"] | tuple[str, ...] = getattr(table, storage)
        for node in names if held == "all" else held:
            placed.setdefault(node, storage)
    return {node: placed[node] for node in names if node in placed}


def operation_names(load: Load) -> tuple[str, ...]:
    """A unique name per operation: the given one, ``rpc lists:seq``, ``write kv transaction``."""
    names: list[str] = []
    for operation in load.operations:
        if operation.rpc:
            default = f"rpc {operation.rpc.module}:{operation.rpc.function}"
        else:
            kind = next(kind for kind in ("write", "read", "update") if getattr(operation, kind))
            on_table = getattr(operation, kind)
            default = f"{kind} {on_table.table} {on_table.context}"
        wanted, number = operation.name or default, 1
        name = wanted
        while name in names:
            number += 1
            name = f"{wanted} #{number}"
        names.append(name)
    return tuple(names)
