"""recover: merge what a cut left apart in Mnesia, and list the writes that this discards.

Healing does not merge: after a cut each side goes on alone, and only a restart of Mnesia on one side, with the other
as master, joins them again; what was acknowledged on the restarted side alone is gone. All losers stop before any
starts: restarting only some of them ends with views that agree over copies that do not. For the same reason agreement
of views is never taken as proof; the copies are compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from harness.cluster.copies import Ids, read_copy
from harness.cluster.each import on_each
from harness.errors import HarnessError
from harness.etf import Atom, Term
from harness.faults.fault import Evidence, Situation, until
from harness.faults.islands import Decision, decide
from harness.scenario import actions
from harness.scenario.groups import Pair

if TYPE_CHECKING:
    from harness.scenario.plan import PlannedStep

_RPC = 10.0  # seconds for one question
_MEETING = 20.0  # seconds until healed nodes are connected again
_RESTART = 60.0  # seconds for Mnesia to stop, start or load
_PROOF = 30.0  # seconds until views and copies agree
_LISTED = 100  # discarded ids told in the journal


class Recover:
    separates: frozenset[Pair] = frozenset()

    def __init__(self, step: PlannedStep, situation: Situation) -> None:
        self._action = cast(actions.Recover, step.action)
        self.targets = tuple(node.name for node in situation.plan.nodes)
        self._situation = situation
        self._nodes = situation.cluster.nodes
        self._erlang = {name: Atom(node.node_name) for name, node in self._nodes.items()}
        self._names = {str(atom): name for name, atom in self._erlang.items()}
        self._running: tuple[str, ...] = ()
        self._told: dict[str, Any] = {}

    def prepare(self) -> None:
        """Nothing beyond a connection to the nodes, which stands."""

    def inject(self) -> None:
        self._running = tuple(name for name, node in self._nodes.items() if node.state() == "running")
        on_each(self._running, self._connect)
        views = on_each(self._running, self._view)
        decision = decide(views, self._action.masters, on_each(self._running, self._rows))
        self._told = {
            "winners": list(decision.winners),
            "losers": list(decision.losers),
            "absent": [name for name in self.targets if name not in self._running],
            "views": {name: sorted(view) for name, view in views.items()},
        }
        if decision.losers:
            self._reload(decision)
        else:
            self._told["nothing_to_do"] = "every node sees every other"

    def bit(self) -> Evidence:
        """Views agree on all running nodes, every copy is written to, and no copy lacks an id that another has."""
        evidence = until(self._agreed, _PROOF, pause=0.2)
        return Evidence(evidence.ok, {**self._told, **evidence.detail})

    def heal(self) -> None:
        """Nothing to undo."""

    def healed(self) -> Evidence:
        return Evidence(True)

    # --- before ---

    def _rpc(self, name: str, module: str, function: str, *args: Term, timeout: float = _RPC) -> Term:
        return self._nodes[name].rpc(module, function, args, timeout=timeout)

    def _connect(self, name: str) -> None:
        """Healed nodes may not have met again yet: without traffic nobody dials, and a connection that was begun during
        the cut stands in the way of another until it is given up (net_setuptime)."""
        for peer in self._running:
            if peer != name and not until(partial(self._dial, name, peer), _MEETING, pause=0.2).ok:
                cause = f"does not connect to {peer}"
                raise HarnessError("recover", cause, "recover after the cut is healed", node=name)

    def _dial(self, name: str, peer: str) -> Evidence:
        return Evidence(self._rpc(name, "net_kernel", "connect_node", self._erlang[peer]) is True)

    def _view(self, name: str) -> frozenset[str]:
        """The nodes whose Mnesia this one has as running; empty when its own is down."""
        view = self._rpc(name, "mnesia", "system_info", Atom("running_db_nodes"))
        return frozenset(self._names.get(str(node), str(node)) for node in view)

    def _rows(self, name: str) -> int:
        """Rows in the node's own copies."""
        tables = self._rpc(name, "harness_probe", "views")["tables"]
        return sum(int(told["size"]) for table, told in tables.items() if str(table) in self._tables(name))

    # --- act ---

    def _reload(self, decision: Decision) -> None:
        """Throw the losers' copies away and load the winners'. What only losers had is told and kept."""
        held = self._held(decision.losers)
        masters = [self._erlang[name] for name in decision.winners]
        self._told["stopped_ns"] = time.monotonic_ns()
        on_each(decision.losers, lambda name: self._done(name, "stopped", "stop"))
        on_each(decision.losers, lambda name: self._done(name, "ok", "set_master_nodes", masters))
        on_each(decision.losers, lambda name: self._start(name, masters))
        on_each(decision.losers, self._load)
        on_each(decision.losers, lambda name: self._done(name, "ok", "set_master_nodes", []))
        self._told["loaded_ns"] = time.monotonic_ns()
        self._told["discarded"] = {table: self._discard(table, ids) for table, ids in held.items()}

    def _held(self, losers: tuple[str, ...]) -> dict[str, Ids]:
        """Table -> every id in a loser's copy. Mnesia may be down there: then nobody can list what it will drop."""
        held: dict[str, Ids] = {}
        for name in losers:
            for table in self._tables(name):
                try:
                    ids = self._copy(table, name)
                except HarnessError as error:
                    self._told.setdefault("not_listed", []).append([name, table, str(error)])
                else:
                    held[table] = np.union1d(held.get(table, ids), ids)
        return held

    def _discard(self, table: str, before: Ids) -> dict[str, Any]:
        copies = self._copies(table).values()
        dropped = np.setdiff1d(before, np.concatenate([*copies, before[:0]]))
        self._situation.discarded(table, dropped)
        return {"count": len(dropped), "first": [int(id) for id in dropped[:_LISTED]]}

    def _copy(self, table: str, name: str) -> Ids:
        return read_copy(self._nodes[name], table, _RPC)

    def _copies(self, table: str) -> dict[str, Ids]:
        return on_each(self._holders(table), partial(self._copy, table))

    def _done(self, name: str, expected: str, function: str, *args: Term) -> None:
        """Call mnesia on a node; another answer than the expected one is an error."""
        answer = self._rpc(name, "mnesia", function, *args, timeout=_RESTART)
        if answer != expected:
            raise HarnessError(f"mnesia:{function}", f"answered {answer!r}", "see the node's log", node=name)

    def _start(self, name: str, masters: list[Atom]) -> None:
        self._done(name, "ok", "start")
        if self._rpc(name, "mnesia", "system_info", Atom("use_dir")) is not True:
            # A schema in memory is gone with the stop, masters included: join as a new node does.
            self._rpc(name, "mnesia", "change_config", Atom("extra_db_nodes"), masters, timeout=_RESTART)

    def _load(self, name: str) -> None:
        tables = [Atom(table) for table in self._tables(name)]
        self._done(name, "ok", "wait_for_tables", tables, round(_RESTART * 900))

    def _tables(self, name: str) -> list[str]:
        return [table.name for table in self._situation.plan.tables if name in table.copies]

    def _holders(self, table: str) -> list[str]:
        return [name for name in self._running if name in self._situation.plan.table(table).copies]

    # --- after ---

    def _agreed(self) -> Evidence:
        try:
            views = on_each(self._running, self._view)
            detail: dict[str, Any] = {"views_after": {name: sorted(view) for name, view in views.items()}}
            if any(view != frozenset(self._running) for view in views.values()):
                return Evidence(False, {**detail, "disagree": "running_db_nodes"})
            if unwritten := self._unwritten():
                return Evidence(False, {**detail, "disagree": "where_to_write", "unwritten": unwritten})
            lacking = self._lacking()
            return Evidence(not lacking, {**detail, "lacking": lacking} if lacking else detail)
        except HarnessError as error:
            return Evidence(False, {"error": str(error)})

    def _unwritten(self) -> list[list[str]]:
        """[node, table, holder]: a copy that writes from this node do not reach."""
        found = []
        for table in self._situation.plan.tables:
            for name in self._running:
                written = self._rpc(name, "mnesia", "table_info", Atom(table.name), Atom("where_to_write"))
                reached = {self._names.get(str(node), str(node)) for node in written}
                found += [[name, table.name, holder] for holder in self._holders(table.name) if holder not in reached]
        return found

    def _lacking(self) -> Mapping[str, int]:
        """``table: n1>n2`` -> how many ids n1's copy has that n2's, read later, still lacks.

        Ids are only ever added, so this holds while writes go on, where a comparison of digests would not.
        """
        found: dict[str, int] = {}
        for table in self._situation.plan.tables:
            holders = self._holders(table.name)
            earlier, later = self._copies(table.name), self._copies(table.name)
            for a in holders:
                for b in holders:
                    if a != b and (lack := len(np.setdiff1d(earlier[a], later[b]))):
                        found[f"{table.name}: {a}>{b}"] = lack
        return found
