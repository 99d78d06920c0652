"""Contradictions in a scenario that is valid key by key: names nobody declared, faults that cannot happen.

Everything here is known without Docker. Each mistake goes to the document at its position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath

from pydantic import ValidationError

from harness.scenario.check_timeline import KnownNodes, check_timeline
from harness.scenario.document import Document, Path
from harness.scenario.expectations import known_check, parse_expectation, suggest
from harness.scenario.explain import dotted, explain
from harness.scenario.names import erlang_name, node_host, node_options
from harness.scenario.schema import ExpectedRpc, Scenario
from harness.scenario.timeline import walk
from harness.scenario.units import WRITTEN
from harness.scenario.values import to_term

MAX_NODES = 100
_NODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,199}")
_STORAGES = ("ram_copies", "disc_copies", "disc_only_copies")


def check(scenario: Scenario, document: Document, base: FilePath) -> None:
    """Add every contradiction to the document. ``base``: where relative paths of the scenario start."""
    _Checker(scenario, document, base).run()


class _Checker:
    def __init__(self, scenario: Scenario, document: Document, base: FilePath) -> None:
        self.scenario = scenario
        self.say = document.add
        self.document = document
        self.base = base
        self.nodes = tuple(node_options(scenario.cluster))
        self.tables: dict[str, object] = {}
        self._known = KnownNodes(self.nodes, document)

    def run(self) -> None:
        if self._nodes():
            self._names()
        self._mnesia()
        self._load()
        self._terms()
        check_timeline(self.scenario, self.document, self._known)
        self._expectations()

    # --- cluster ---

    def _nodes(self) -> bool:
        cluster, before = self.scenario.cluster, len(self.document.problems)
        path: Path = ("cluster", "nodes")
        if isinstance(cluster.nodes, int) and not 1 <= cluster.nodes <= MAX_NODES:
            self.say(path, f"cluster.nodes: a cluster has 1 to {MAX_NODES} nodes, got {cluster.nodes}")
            return False
        written = [] if isinstance(cluster.nodes, int) else list(cluster.nodes)
        if not isinstance(cluster.nodes, int) and not 1 <= len(written) <= MAX_NODES:
            self.say(path, f"cluster.nodes: a cluster has 1 to {MAX_NODES} nodes, got {len(written)}")
        is_map = isinstance(cluster.nodes, dict)
        for index, name in enumerate(written):
            here: Path = (*path, name if is_map else index)
            if name == "harness":
                self.say(here, "the name harness is the harness's own; call the node something else", at_key=True)
            elif not _NODE.fullmatch(name):
                hint = "; a domain goes into cluster.domain" if "." in name else ""
                self.say(here, f"{name!r} is no host name: a letter, then letters, digits, - or _{hint}", at_key=True)
            elif name.lower() in (other.lower() for other in written[:index]):
                self.say(here, f"node {name} is named twice", at_key=True)
        return len(self.document.problems) == before

    def _names(self) -> None:
        cluster = self.scenario.cluster
        path: Path = ("cluster", "node_name")
        unknown = re.findall(r"\{(?!node\}|host\})[^}]*\}?", cluster.node_name)
        names = [erlang_name(cluster, name) for name in self.nodes]
        if unknown:
            self.say(path, f"node_name: {unknown[0]} means nothing here; there are {{node}} and {{host}}")
        elif any(name.count("@") != 1 or not name.split("@")[0] for name in names):
            self.say(path, "node_name: an Erlang node is called name@host, like shop@{host}")
        elif len(set(names)) < len(names):
            self.say(path, "node_name: gives two nodes the same name; use {node} or {host} in it")
        elif any(name.split("@")[1] != node_host(cluster, node) for name, node in zip(names, self.nodes, strict=True)):
            long = " (long names come from cluster.domain)" if not cluster.domain else ""
            self.say(path, f"node_name: nodes find each other by what stands behind @; write @{{host}} there{long}")
        if cluster.domain and not re.fullmatch(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?", cluster.domain):
            self.say(("cluster", "domain"), f"domain: {cluster.domain!r} is no domain name")

    # --- Mnesia ---

    def _mnesia(self) -> None:
        mnesia = self.scenario.cluster.mnesia
        if mnesia is None:
            return
        self.tables = {**mnesia.tables}
        for name, table in mnesia.tables.items():
            path: Path = ("cluster", "mnesia", "tables", name)
            if name == "schema" or name.startswith("harness_"):
                self.say(path, f"the table name {name} is taken (schema and harness_... are)", at_key=True)
            elif not _TABLE.fullmatch(name):
                self.say(path, f"{name!r} is no table name: letters, digits, _ . @ -", at_key=True)
            held: dict[str, str] = {}
            for storage in _STORAGES:
                copies = getattr(table, storage)
                listed = (self.nodes or ("",)) if copies == "all" else copies
                if copies != "all":
                    self._known.all(copies, (*path, storage))
                for index, node in enumerate(listed):
                    where: Path = (*path, storage) if copies == "all" else (*path, storage, index)
                    if held.setdefault(node, storage) != storage:
                        self.say(where, f"table {name}: {node} already holds it as {held[node]}")
                        break
            if not held:
                self.say(path, f"table {name} has no copies; write ram_copies: all", at_key=True)
        for index, name in enumerate(mnesia.observe):
            if name in mnesia.tables:
                self.say(
                    ("cluster", "mnesia", "observe", index),
                    f"table {name} is created by the harness (mnesia.tables), so it is observed anyway",
                )

    def _known_table(self, name: str, path: Path) -> None:
        mnesia = self.scenario.cluster.mnesia
        if mnesia is None:
            self.say(path, f"table {name}: this cluster has no Mnesia; declare it: cluster.mnesia.tables.{name}")
        elif name in mnesia.observe and name not in mnesia.tables:
            self.say(path, f"table {name} is only observed: it is the release's own, the harness never uses it")
        elif name not in self.tables:
            close = suggest(name, self.tables)
            self.say(path, f"table {name!r} is not declared{close or f'; add it: cluster.mnesia.tables.{name}'}")

    # --- load ---

    def _load(self) -> None:
        load = self.scenario.load
        names: dict[str, int] = {}
        for index, operation in enumerate(load.operations):
            path: Path = ("load", "operations", index)
            self._known.all(operation.on, (*path, "on"))
            for kind in ("write", "read", "update"):
                on_table = getattr(operation, kind)
                if on_table is not None:
                    self._known_table(on_table.table, (*path, kind, "table"))
            if operation.name and names.setdefault(operation.name, index) != index:
                self.say((*path, "name"), f"two operations are called {operation.name!r}")
        if load.locustfile is not None:
            file = self.base / load.locustfile
            where: Path = ("load", "locustfile")
            if not file.is_file():
                self.say(where, f"locustfile: {load.locustfile} is not there (looked for {file})")
            elif file.suffix != ".py":
                self.say(where, f"locustfile: {load.locustfile} is no Python file")

    def _terms(self) -> None:
        """Arguments and expected answers that are no terms."""
        places: list[tuple[Path, object]] = []
        for path, value in _calls(self.scenario):
            places += [((*path, key), getattr(value, key)) for key in ("args", "returns") if hasattr(value, key)]
        for path, value in places:
            try:
                to_term(value)
            except ValueError as error:
                self.say(path, f"{dotted(path)}: {error}")

    # --- expectations ---

    def _expectations(self) -> None:
        for name, written in self.scenario.expect.items():
            path: Path = ("expect", name)
            if name == "rpc":
                self._answers(written, path)
                continue
            said = known_check(name)
            if said:
                self.say(path, said, at_key=True)
                continue
            try:
                parse_expectation(name, written)
            except ValueError as error:
                self.say(path, str(error))
        for index, name in enumerate(self.scenario.expect_failure):
            said = known_check(name)
            if said:
                self.say(("expect_failure", index), said)

    def _answers(self, written: object, path: Path) -> None:
        if not isinstance(written, list):
            self.say(path, "expect.rpc: expected a list of calls like [{module: shop, function: invariant}]")
            return
        for index, entry in enumerate(written):
            here: Path = (*path, index)
            try:
                answer = ExpectedRpc.model_validate(entry, context=WRITTEN)
            except ValidationError as error:
                explain(error, self.document, here, ExpectedRpc)
                continue
            if not isinstance(answer.on, str):
                self._known.all(answer.on, (*here, "on"))
            for key in ("args", "returns"):
                try:
                    to_term(getattr(answer, key))
                except ValueError as error:
                    self.say((*here, key), f"{dotted((*here, key))}: {error}")


def _calls(scenario: Scenario) -> Iterator[tuple[Path, object]]:
    if scenario.cluster.health:
        yield ("cluster", "health"), scenario.cluster.health
    for index, call in enumerate(scenario.setup):
        yield ("setup", index), call
    for index, operation in enumerate(scenario.load.operations):
        if operation.rpc:
            yield ("load", "operations", index, "rpc"), operation.rpc
    for path, step in walk(scenario.timeline):
        if step.rpc:
            yield (*path, "rpc"), step.rpc
