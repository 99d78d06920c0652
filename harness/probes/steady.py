"""Before and after: is the cluster whole before anything is broken, and has it come to rest before it is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from harness.cluster.cluster import Cluster
from harness.cluster.each import on_each
from harness.errors import DistError, EnvironmentProblem, HarnessError
from harness.etf import Atom
from harness.history import Mark
from harness.probes.membership import ask_view
from harness.probes.view import Names, View, unsteady
from harness.scenario.plan import Plan
from harness.scenario.values import module_name, to_term

_ANSWER = 2.0  # seconds a node has for its view
_CONNECT = 10.0  # ... for a connection attempt: net_setuptime is 7 s
_PAUSE = 0.2
_REST = 3.0  # seconds without any change that count as rest in a cluster that is not whole
_SHORT_REST = 1.0  # ... in one that is


def baseline(cluster: Cluster, plan: Plan, timeout: float = 30.0) -> None:
    """Wait until the cluster is whole. Raises EnvironmentProblem naming the node and what is wrong with it."""
    deadline = time.monotonic() + timeout
    while True:
        wrong = next(unsteady(plan, look(cluster, plan)), None)
        if wrong is None:
            return
        if time.monotonic() > deadline:
            node, cause = wrong
            raise EnvironmentProblem(
                "baseline", f"{cause}, {timeout:g} s after the start",
                "nothing was broken yet: see the node's log", node=node,
            )  # fmt: skip
        time.sleep(_PAUSE)


def run_setup(cluster: Cluster, plan: Plan) -> None:
    """The scenario's ``setup`` calls, one after the other, on its first node. Raises EnvironmentProblem."""
    node = cluster.nodes[plan.nodes[0].name]
    for call in plan.setup:
        args = [to_term(arg) for arg in call.args]
        try:
            node.rpc(module_name(call.module), call.function, args, call.timeout)
        except DistError as error:
            what = f"setup {call.module}:{call.function}/{len(args)}"
            raise EnvironmentProblem(what, error.cause or str(error), "mend the call", node=node.name) from error


def look(cluster: Cluster, plan: Plan) -> dict[str, View | None]:
    """Every node's view, all asked at the same time; None where there was no answer."""
    names = Names(plan)

    def ask(name: str) -> View | None:
        try:
            return ask_view(cluster.nodes[name], names, _ANSWER)
        except HarnessError:
            return None

    return on_each(cluster.nodes, ask)


@dataclass(frozen=True, slots=True)
class QuiesceReport:
    """``whole``: mesh and views are complete. ``rested``: nothing changed any more. ``left``: what is not as it was."""

    whole: bool
    rested: bool
    seconds: float
    reconnected: tuple[tuple[str, str], ...]
    left: tuple[str, ...]


def quiesce(
    cluster: Cluster,
    plan: Plan,
    journal: Callable[[Mark], None],
    backlog: Callable[[], int] = lambda: 0,
) -> QuiesceReport:
    """After load and faults: reconnect every pair of nodes and wait until all is at rest, or ``plan.quiesce`` is over.

    Reconnecting is what traffic would do sooner or later; recovering is not done: what a cut left apart in Mnesia
    stays apart. The report is journalled as mark ``quiesced``.
    """
    began = time.monotonic()
    deadline = began + plan.quiesce
    reconnected: list[tuple[str, str]] = []
    before: dict[str, object] = {}
    changed = began
    while True:
        views = look(cluster, plan)
        reconnected += _reconnect(cluster, plan, views)
        now = time.monotonic()
        left = [f"{node} {cause}" for node, cause in unsteady(plan, views)]
        picture = _picture(views)
        if picture != before:
            before, changed = picture, now
        rest = _SHORT_REST if not left else _REST
        behind = not left and backlog() > 0  # where Mnesia stayed split the backlog never ends
        rested = now - changed >= rest and _connected(views) and not _loading(views) and not behind
        if rested or now > deadline:
            break
        time.sleep(_PAUSE)
    report = QuiesceReport(not left, rested, round(now - began, 3), tuple(reconnected), tuple(left))
    journal(Mark(time.monotonic_ns(), "quiesced", asdict(report)))
    return report


def _reconnect(cluster: Cluster, plan: Plan, views: Mapping[str, View | None]) -> list[tuple[str, str]]:
    """Ask every node to connect with each peer it misses; the pairs that came of it."""
    missing = {
        name: [peer for peer in cluster.nodes if peer != name and peer not in view.connected]
        for name, view in views.items()
        if view is not None
    }

    def connect(name: str) -> list[tuple[str, str]]:
        made: list[tuple[str, str]] = []
        for peer in missing[name]:
            try:
                args = [Atom(cluster.nodes[peer].node_name)]
                if cluster.nodes[name].rpc("net_kernel", "connect_node", args, _CONNECT) is True:
                    made.append((name, peer))
            except DistError:  # asked again in the next round
                continue
        return made

    asked = on_each((name for name, peers in missing.items() if peers), connect)
    return [pair for made in asked.values() for pair in made]


def _picture(views: Mapping[str, View | None]) -> dict[str, object]:
    """What must not change any more: who sees whom and how much the copies hold; the probes' own tables aside."""
    picture: dict[str, object] = {}
    for name, view in views.items():
        tables = view and {t: seen for t, seen in view.tables.items() if not t.startswith("harness_lag_")}
        picture[name] = view and (view.connected, view.mnesia, view.running_db_nodes, tables)
    return picture


def _connected(views: Mapping[str, View | None]) -> bool:
    """Whether those that answer are all connected with each other."""
    alive = {name for name, view in views.items() if view is not None}
    return all(alive - {name} <= set(view.connected) for name, view in views.items() if view is not None)


def _loading(views: Mapping[str, View | None]) -> bool:
    """Whether some node is about to change by itself: Mnesia on its way, or a copy that is still to be loaded."""
    return any(
        view.mnesia in ("starting", "stopping") or any(not table.readable for table in view.tables.values())
        for view in views.values()
        if view is not None
    )
