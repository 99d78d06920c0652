"""Who sees whom: events of the nodes as observations, views of the nodes as figures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from harness.cluster.node import Node
from harness.errors import HarnessError
from harness.etf import Term
from harness.history import JournalEvent, Mark, Observation
from harness.metrics import Figures
from harness.probes.clock import Offset
from harness.probes.install import MODULE
from harness.probes.view import Names, View, parse_view
from harness.scenario.plan import Plan
from harness.scenario.values import from_term

RING = 10_000  # events that a node keeps (harness_probe.erl)
_OWN = "harness-"  # our own hidden nodes, seen coming and going by nobody who matters


def ask_view(node: Node, names: Names, timeout: float) -> View:
    """The node's own view, from itself alone. Raises DistError, or HarnessError for an answer of another shape."""
    answer = node.rpc(MODULE, "views", (), timeout)
    try:
        return parse_view(answer, names)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HarnessError("read views", f"{answer!r:.120}", node=node.name) from error


def observation(node: str, at: int, event: Term, names: Names) -> Observation | None:
    """One event of ``harness_probe`` as an observation; None for what concerns the harness's own connections."""
    kind, *rest = event if isinstance(event, tuple) else (event,)
    peer, detail = "", {}
    match str(kind), rest:
        case "nodedown", [who, reason]:
            peer, detail = names.short(who), {"reason": _word(reason)}
        case "inconsistent_database", [context, who]:
            peer, detail = names.short(who), {"context": _word(context)}
        case (("nodeup" | "mnesia_up" | "mnesia_down" | "busy_dist_port"), [who]):
            peer = names.short(who)
        case "mnesia_overload", [details]:
            detail = {"details": from_term(details)}
        case "mnesia_error", [bytes(text)]:
            detail = {"text": text.decode(errors="replace")[:500]}
        case _, []:
            pass
        case _:
            detail = {"term": from_term(list(rest))}
    if peer.startswith(_OWN):
        return None
    return Observation(at, node, str(kind), peer, detail)


def _word(term: Term) -> object:
    """Atoms of an event read better bare than as ``:atom``."""
    return str(term) if isinstance(term, str) else from_term(term)


class MembershipProbe:
    """Drains every node's events, keeps its newest view. One thread per node calls it; views are shared."""

    def __init__(self, plan: Plan, figures: Figures, emit: Callable[[JournalEvent], None]) -> None:
        self.names = Names(plan)
        self._figures = figures
        self._emit = emit
        self._lock = threading.Lock()
        self._since: dict[str, int] = {}
        self._clocks: dict[str, Offset] = {}
        self._views: dict[str, View | None] = dict.fromkeys(self.names.everyone)

    def drain(self, node: Node, timeout: float) -> None:
        """Emit what happened on the node since last time. Raises DistError; RemoteError: the probe is not there."""
        clock = self._clocks.setdefault(node.name, Offset())
        asked = time.monotonic_ns()
        since = self._since.get(node.name, 0)
        now, last, events = node.rpc(MODULE, "events", [since], timeout)
        clock.exchanged(asked, now, time.monotonic_ns())
        self._since[node.name] = last
        # a jump alone is a probe that started anew; with the ring full it has overtaken us
        if since and len(events) >= RING and (lost := events[0][0] - since - 1):
            self._emit(Mark(time.monotonic_ns(), "probe_dropped", {"node": node.name, "what": "events", "count": lost}))
        for _, at, event in events:
            seen = observation(node.name, clock.ours(at), event, self.names)
            if seen is not None:
                if error := clock.error_ns:  # another host's clock: how far ``time`` may be off
                    seen = replace(seen, detail={**seen.detail, "error_ns": error})
                self._emit(seen)

    def look(self, node: Node, timeout: float) -> View:
        """Ask for the node's view and export it. Raises DistError."""
        view = ask_view(node, self.names, timeout)
        with self._lock:
            self._views[node.name] = view
        self._figures.node_up(node.name, True)
        for peer in self.names.everyone:
            if peer != node.name:
                self._figures.link_up(node.name, peer, peer in view.connected)
        return view

    def lost(self, node: str) -> None:
        """The node did not answer."""
        with self._lock:
            self._views[node] = None
        self._figures.node_up(node, False)
        for peer in self.names.everyone:
            if peer != node:
                self._figures.link_up(node, peer, False)

    def views(self) -> dict[str, View | None]:
        """The newest view of every node, None where it did not answer."""
        with self._lock:
            return dict(self._views)
