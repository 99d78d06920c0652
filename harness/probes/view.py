"""What a node says of itself and its peers, in the scenario's names, and whether all of it fits together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.etf import Term
from harness.scenario.plan import Plan

NOWHERE = "nowhere"


class Names:
    """Erlang node names to scenario names; a stranger keeps its own."""

    def __init__(self, plan: Plan) -> None:
        self._names = {node.node_name: node.name for node in plan.nodes}
        self.everyone = tuple(node.name for node in plan.nodes)

    def short(self, node_name: Term) -> str:
        return self._names.get(str(node_name), str(node_name))

    def known(self, node_names: Iterable[Term]) -> tuple[str, ...]:
        """The scenario's nodes among them, sorted; strangers left out."""
        return tuple(sorted(self._names[str(n)] for n in node_names if str(n) in self._names))


@dataclass(frozen=True, slots=True)
class TableView:
    """``readable``: where this node reads the table, empty: nowhere. ``storage``: of its own copy, or ``unknown``."""

    where_to_write: tuple[str, ...]
    readable: str
    storage: str
    size: int


@dataclass(frozen=True, slots=True)
class View:
    """One node's answer to ``harness_probe:views``. ``mnesia``: yes, no, starting or stopping."""

    node: str
    connected: tuple[str, ...]
    mnesia: str
    running_db_nodes: tuple[str, ...]
    tables: Mapping[str, TableView] = field(default_factory=dict)
    dist: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    memory: int = 0
    run_queue: int = 0
    processes: int = 0

    def serves(self, table: str) -> bool:
        """Whether clients of this node can read the table: it is loaded somewhere and Mnesia runs here."""
        known = self.tables.get(table)
        return known is not None and known.readable != "" and self.node in self.running_db_nodes


def parse_view(answer: Term, names: Names) -> View:
    """The map of ``harness_probe:views``. Raises KeyError, TypeError or ValueError when it is another."""
    tables = {str(name): _table(said, names) for name, said in answer.get("tables", {}).items()}
    dist = {
        names.short(peer): {str(key): int(n) for key, n in said.items() if isinstance(n, int)}
        for peer, said in answer.get("dist", {}).items()
    }
    return View(
        node=names.short(answer["node"]),
        connected=names.known(answer["nodes"]),
        mnesia=str(answer["mnesia"]),
        running_db_nodes=names.known(answer["running_db_nodes"]),
        tables=tables,
        dist=dist,
        memory=_number(answer.get("memory")),
        run_queue=_number(answer.get("run_queue")),
        processes=_number(answer.get("processes")),
    )


def _table(said: Term, names: Names) -> TableView:
    readable = said.get("where_to_read")
    written = said.get("where_to_write")
    return TableView(
        where_to_write=names.known(written) if isinstance(written, list) else (),
        readable="" if readable is None or readable == NOWHERE else names.short(readable),
        storage=str(said.get("storage")),
        size=_number(said.get("size")),
    )


def _number(value: Term) -> int:
    return int(value) if isinstance(value, int | float) else 0


def unsteady(plan: Plan, views: Mapping[str, View | None]) -> Iterator[tuple[str, str]]:
    """(node, cause) for everything that is not as in a whole cluster; nothing when it is one.

    Views that agree prove nothing about data: this is what has to hold before data is worth comparing.
    """
    everyone = {node.name for node in plan.nodes}
    for name in sorted(everyone):
        view = views.get(name)
        if view is None:
            yield name, "does not answer"
            continue
        if missing := everyone - {name} - set(view.connected):
            yield name, f"is not connected with {', '.join(sorted(missing))}"
        if plan.mnesia:
            yield from ((name, cause) for cause in _mnesia(plan, view, everyone))


def _mnesia(plan: Plan, view: View, everyone: set[str]) -> Iterator[str]:
    if view.mnesia != "yes":
        yield f"Mnesia is not running there: {view.mnesia}"
        return
    if missing := everyone - set(view.running_db_nodes):
        yield f"its Mnesia does not see {', '.join(sorted(missing))}"
    for table in plan.tables:
        seen = view.tables.get(table.name)
        if seen is None:
            yield f"does not know table {table.name}"
        elif not seen.readable:
            yield f"table {table.name} is not loaded"
        elif missing := set(table.copies) - set(seen.where_to_write):
            yield f"does not write table {table.name} to {', '.join(sorted(missing))}"
    for observed in plan.observed_tables:
        if observed not in view.tables:
            yield f"does not know table {observed}"
