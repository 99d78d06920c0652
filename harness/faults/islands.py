"""Whose copy survives a recovery: a decision on views, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from harness.errors import HarnessError

Views = Mapping[str, AbstractSet[str]]


@dataclass(frozen=True, slots=True)
class Decision:
    """In the order of their names. No losers: there is nothing to recover."""

    winners: tuple[str, ...]
    losers: tuple[str, ...]


def decide(views: Views, masters: Sequence[str] = (), rows: Mapping[str, int] | None = None) -> Decision:
    """Who keeps its copy and who loads it anew.

    ``views``: node -> nodes whose Mnesia it has as running, empty where its own is down. ``masters`` win where they
    are named, and everyone else loads theirs: that views agree says nothing about copies. Otherwise the largest
    group in which everyone sees everyone wins. Of equally large ones the one with the most ``rows`` (by node) does,
    since it discards least: `global` can take a majority apart while it heals, and then all are alone. Then the lowest
    name.

    Raises HarnessError when a master is down or the masters do not see each other, or when nobody's Mnesia runs.
    """
    up = {node for node, view in views.items() if node in view}
    if masters:
        winners = frozenset(masters)
        if not winners <= up:
            cause = f"{', '.join(sorted(winners - up))}: named as master and down"
            raise HarnessError("recover", cause, "name masters whose Mnesia runs")
        if not all(winners <= views[master] for master in winners):
            cause = f"the masters {', '.join(sorted(winners))} do not see each other"
            raise HarnessError("recover", cause, "name masters of one side")
    elif up:
        winners = _largest(up, views, rows or {})
    else:
        raise HarnessError("recover", "Mnesia runs on no node", "start it before this step")
    return Decision(tuple(sorted(winners)), tuple(sorted(views.keys() - winners)))


def _largest(up: AbstractSet[str], views: Views, rows: Mapping[str, int]) -> frozenset[str]:
    """The largest clique of mutual sight (Bron-Kerbosch); a partial cut leaves nodes that see two which see not."""
    mutual = {a: {b for b in up if b != a and b in views[a] and a in views[b]} for a in up}
    found: list[frozenset[str]] = []

    def extend(clique: frozenset[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            found.append(clique)
            return
        pivot = max(candidates | done, key=lambda node: len(mutual[node] & candidates))
        for node in sorted(candidates - mutual[pivot]):
            extend(clique | {node}, candidates & mutual[node], done & mutual[node])
            candidates = candidates - {node}
            done = done | {node}

    extend(frozenset(), set(up), set())
    return min(found, key=lambda clique: (-len(clique), -max(rows.get(node, 0) for node in clique), sorted(clique)))
