"""Started nodes become one cluster: each answers, all see each other, kernel parameters hold, tables are loaded.

A node of another image that is restarted is brought back in the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.cluster.bases import Progress
from harness.cluster.environment import table_options
from harness.cluster.modules import Modules, load_modules
from harness.cluster.node import Node, answers
from harness.errors import ClusterNotFormed, DistError, EnvironmentProblem
from harness.etf import Atom, Term
from harness.scenario.plan import Plan

Each = Callable[[Callable[[Node], Any], Iterable[Node]], list[Any]]
_POLL = 0.05


def form(
    plan: Plan, nodes: dict[str, Node], modules: Callable[[], Modules], each: Each, given_up: threading.Event,
    progress: Progress,
) -> str:  # fmt: skip
    """Wait until the nodes are one cluster; the OTP releases they run, as in ``27`` or ``25, 27``.

    Raises ClusterNotFormed (with the last log lines of a node that exited), EnvironmentProblem when a kernel
    parameter is not what the plan says.
    """
    deadline = time.monotonic() + plan.ready_within

    def left() -> float:
        return max(0.1, deadline - time.monotonic())

    each(lambda node: node.wait_ready(left(), plan.health, given_up.is_set), nodes.values())
    each(lambda node: _wait_mesh(node, nodes, deadline, given_up), nodes.values())
    releases = each(lambda node: _check_kernel(node, plan), nodes.values())
    foreign = [node for node in nodes.values() if node.foreign]
    if foreign and plan.tables:
        progress("creating the scenario's tables over RPC")
        probe = modules()
        each(lambda node: load_modules(node, probe), foreign)
        everyone = list(nodes.values())
        _create_tables(plan, dict.fromkeys(everyone, everyone), left)
    return ", ".join(sorted(set(releases)))


def bring_back(
    plan: Plan, reached: Mapping[Node, Sequence[Node]], modules: Callable[[], Modules], timeout: float
) -> None:
    """Give restarted nodes what ``form`` gave them; each with the other nodes that run and that no cut keeps from it.

    One of ours and a release that starts Mnesia itself find all in place. Raises what ``form`` raises, or DistError.
    """
    deadline = time.monotonic() + timeout

    def left() -> float:
        return max(0.1, deadline - time.monotonic())

    back = {node: [node, *others] for node, others in reached.items() if node.foreign}
    for node, seen in back.items():
        _wait_mesh(node, {other.name: other for other in seen}, deadline, threading.Event())
    if back and plan.tables:
        for node in back:
            load_modules(node, modules())
        _create_tables(plan, back, left)


def _wait_mesh(node: Node, nodes: dict[str, Node], deadline: float, given_up: threading.Event) -> None:
    """Until the node is connected with every other. Nodes of another image are asked to connect."""
    others = {other.node_name for other in nodes.values()} - {node.node_name}
    missing = others
    while True:
        try:
            seen = node.rpc("erlang", "nodes")
            missing = others - {str(name) for name in seen} if isinstance(seen, list) else others
            if not missing:
                return
            if node.foreign:
                for name in sorted(missing):
                    node.rpc("net_kernel", "connect_node", [Atom(name)], 10.0)
        except DistError as error:
            if exited := node.died():
                raise exited from error
        if given_up.is_set() or time.monotonic() > deadline:
            raise ClusterNotFormed(
                "connect", f"{node.node_name} never saw {', '.join(sorted(missing))}",
                "names, cookies and ports of the nodes must fit: see their logs", node=node.name,
            )  # fmt: skip
        time.sleep(_POLL)


def _check_kernel(node: Node, plan: Plan) -> str:
    """Read the kernel parameters back; the node's OTP release."""
    kernel = plan.kernel
    found: dict[str, tuple[object, object]] = {
        "net_ticktime": (_unwrapped(node.rpc("net_kernel", "get_net_ticktime")), kernel.net_ticktime),
        "net_tickintensity": (_kernel_value(node, "net_tickintensity", 4), kernel.net_tickintensity),
        "prevent_overlapping_partitions": (
            _kernel_value(node, "prevent_overlapping_partitions", True), kernel.prevent_overlapping_partitions,
        ),
    }  # fmt: skip
    if kernel.net_setuptime is not None:
        found["net_setuptime"] = (_kernel_value(node, "net_setuptime", 7), kernel.net_setuptime)
    for name, (actual, planned) in found.items():
        if actual != planned:
            raise EnvironmentProblem(
                "kernel parameters", f"{name} is {actual}, the scenario says {planned}",
                f"the image sets it itself: say {name}: {actual} under cluster.kernel, or drop it there",
                node=node.name,
            )  # fmt: skip
    return node.otp_release()


def _kernel_value(node: Node, name: str, default: Term) -> Term:
    answer = answers(node, "application", "get_env", [Atom("kernel"), Atom(name)])
    return answer[1] if isinstance(answer, tuple) and len(answer) == 2 else default


def _unwrapped(answer: Term) -> Term:
    """``net_kernel:get_net_ticktime`` answers a number, or a tuple around it while it changes."""
    return answer[1] if isinstance(answer, tuple) and len(answer) == 2 else answer


def _create_tables(plan: Plan, nodes: Mapping[Node, Sequence[Node]], left: Callable[[], float]) -> None:
    """Mnesia runs on the nodes, each having joined those it is given with, and the plan's tables are loaded there."""
    storages = {storage for table in plan.tables for storage in table.copies.values()}
    schema = Atom("ram" if storages <= {"ram_copies"} else "disc")
    for node, others in nodes.items():  # one after the other: two that join at the same time can refuse each other
        names: list[Term] = [Atom(other.node_name) for other in others]
        until = time.monotonic() + left()
        while _joins_by_itself(answer := node.rpc("harness_probe", "ensure_mnesia", [names, schema], left())):
            if time.monotonic() > until:
                break
            time.sleep(_POLL)
        _ok(answer, "harness_probe:ensure_mnesia", node)
    first = next(iter(nodes))
    for table in plan.tables:
        options: list[Term] = [(Atom(name), _value(value)) for name, value in table_options(plan, table)]
        options.append((Atom("attributes"), [Atom("key"), Atom("value")]))
        _ok(
            first.rpc("harness_probe", "ensure_table", [Atom(table.name), options], left()),
            "harness_probe:ensure_table",
            first,
        )
    tables: list[Term] = [Atom(table.name) for table in plan.tables]

    for node in nodes:
        seconds = left()
        answer = node.rpc("harness_probe", "tables_loaded", [tables, int(seconds * 1000)], seconds + 1)
        _ok(answer, "harness_probe:tables_loaded", node)


def _joins_by_itself(answer: Term) -> bool:
    """With a schema on disc Mnesia looks for the others when it starts, and nothing is left to be joined by us."""
    match answer:
        case ("error", ("not_joined", _)):
            return True
    return False


def _ok(answer: Term, asked: str, node: Node) -> None:
    if answer != "ok":
        raise ClusterNotFormed(asked, repr(answer), "see the node's log", node=node.name)


def _value(value: object) -> Term:
    if isinstance(value, list):
        return [Atom(word) for word in value]
    return bool(value)
