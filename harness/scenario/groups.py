"""Who is cut from whom: partitions as pure data.

A partition names groups of nodes. Nodes of different groups cannot exchange anything in either direction; a node in
no group stays connected with everyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Pair = tuple[str, str]


def cut_pairs(groups: Sequence[Sequence[str]], nodes: Iterable[str]) -> frozenset[Pair]:
    """Every ordered pair (from, to) of ``nodes`` between which traffic is dropped. Symmetric, never reflexive."""
    group_of = {node: number for number, group in enumerate(groups) for node in group}
    grouped = [node for node in nodes if node in group_of]
    return frozenset((a, b) for a in grouped for b in grouped if group_of[a] != group_of[b])


def components(nodes: Iterable[str], pairs: Iterable[Pair]) -> tuple[tuple[str, ...], ...]:
    """The islands that the cuts leave: nodes joined by links that still work in both directions.

    In the order of ``nodes``; with a node outside every group there is one island, though not everyone in it sees
    everyone (a partial cut).
    """
    everyone = tuple(nodes)
    cut = frozenset(pairs)
    left = dict.fromkeys(everyone)
    islands: list[tuple[str, ...]] = []
    while left:
        reached = {next(iter(left))}
        frontier = list(reached)
        while frontier:
            here = frontier.pop()
            for there in everyone:
                if there not in reached and (here, there) not in cut and (there, here) not in cut:
                    reached.add(there)
                    frontier.append(there)
        islands.append(tuple(node for node in everyone if node in reached))
        for node in reached:
            left.pop(node, None)
    return tuple(islands)


def partial(nodes: Iterable[str], pairs: Iterable[Pair]) -> bool:
    """Whether some island holds two nodes that are cut from each other (a partial cut, DOMAIN: ``global`` evicts)."""
    cut = frozenset(pairs)
    return any((a, b) in cut for island in components(nodes, cut) for a in island for b in island)


def majority(component: Sequence[str], holders: Iterable[str]) -> bool:
    """Whether a component holds more than half of the copies of a table (Mnesia's ``majority`` rule)."""
    copies = frozenset(holders)
    return 2 * len(copies & frozenset(component)) > len(copies)
