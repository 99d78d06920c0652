"""Figures of the Erlang VM and of Mnesia, under the names Erlang's own exporters use."""

from __future__ import annotations

from collections.abc import Mapping

from harness.cluster.node import Node
from harness.errors import RemoteError
from harness.etf import Atom, Term
from harness.metrics import Figures
from harness.probes.view import View

_MNESIA = {
    "erlang_mnesia_committed_transactions": "transaction_commits",
    "erlang_mnesia_failed_transactions": "transaction_failures",
    "erlang_mnesia_restarted_transactions": "transaction_restarts",
    "erlang_mnesia_logged_transactions": "transaction_log_writes",
}


def sample_runtime(node: Node, view: View, figures: Figures, timeout: float) -> None:
    """Export the node's figures. Raises DistError."""
    memory = {str(key): float(n) for key, n in node.rpc("erlang", "memory", (), timeout)}
    system = {usage: memory[usage] for usage in ("atom", "binary", "code", "ets")}
    read: dict[str, float | Mapping[str, float]] = {
        "erlang_vm_memory_bytes": {"system": memory["system"], "processes": memory["processes"]},
        "erlang_vm_memory_system_bytes": system | {"other": memory["system"] - sum(system.values())},
        "erlang_vm_process_count": view.processes,
        "erlang_vm_statistics_run_queues_length": view.run_queue,
        "erlang_vm_dist_node_queue_size_bytes": {peer: said.get("queue", 0) for peer, said in view.dist.items()},
        "erlang_vm_dist_send_pend_bytes": {peer: said.get("pend", 0) for peer, said in view.dist.items()},
        "erlang_vm_dist_send_bytes": {peer: said.get("sent_bytes", 0) for peer, said in view.dist.items()},
        "erlang_vm_dist_recv_bytes": {peer: said.get("received_bytes", 0) for peer, said in view.dist.items()},
        "erlang_mnesia_tablewise_size": {
            name: table.size for name, table in view.tables.items() if table.storage.endswith("_copies")
        },
    }
    if view.mnesia == "yes":
        for name, item in _MNESIA.items():
            value = _system_info(node, item, timeout)
            if isinstance(value, int):
                read[name] = value
    figures.erlang(node.name, read)


def _system_info(node: Node, item: str, timeout: float) -> Term:
    try:
        return node.rpc("mnesia", "system_info", [Atom(item)], timeout)
    except RemoteError:  # Mnesia stopped since the view was taken
        return None
