"""Which node hears which: our tables on every node, and one datagram for each ordered pair.

With one direction cut a TCP connect fails in both, so only one-way datagrams tell which direction is cut. The count of
the rule that dropped one proves that it was sent; the count of arrivals proves that it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.cluster.each import on_each
from harness.faults import nft
from harness.faults.fault import Evidence, needs
from harness.scenario.groups import Pair

if TYPE_CHECKING:
    from harness.cluster.cluster import Cluster

ARRIVED, DROPPED, ELSEWHERE, LOST, BOTH = "arrived", "dropped", "dropped by another cut", "lost", "both"
_TRIAL, _TRIAL_S, _NOBODY = "Trial of a cut", 1.0, "192.0.2.1"  # the last: TEST-NET-1


def prepare(cluster: Cluster) -> None:
    """Put up the standing table everywhere, and try there what a cut consists of, on an address that no node has.

    Also opens every helper's shell: the first cut is then as quick as others. Raises FaultUnsupported.
    """
    name = nft.cut_name(_TRIAL)
    trial = " && ".join(map(nft.command, (nft.cut(name, [_NOBODY], _TRIAL_S), nft.heal(name))))

    remedy = "nf_tables is needed on the engine's host (modprobe nf_tables); harness doctor shows what works"
    needs("partition", cluster.nodes, lambda node: cluster.nodes[node].helper.run(trial), remedy)


def read_tables(cluster: Cluster) -> dict[str, nft.TableState]:
    """Our table of every node. Raises HelperFailed."""
    return on_each(cluster.nodes, lambda name: nft.parse(cluster.nodes[name].helper.run(nft.listing())))


def standing_cuts(cluster: Cluster) -> frozenset[Pair]:
    """The ordered pairs that any cut separates now, as the kernels hold them. Raises HelperFailed."""
    names = {node.address: name for name, node in cluster.nodes.items()}
    return frozenset(
        (names[source], receiver)
        for receiver, table in read_tables(cluster).items()
        for sources in table.cuts.values()
        for source in sources
        if source in names
    )


def probe(cluster: Cluster, cut: str) -> dict[Pair, str]:
    """Send one datagram over every ordered pair and say what became of it, as seen by this cut.

    One that was still under way when the counts were read is ``lost``: look again. Raises HelperFailed.
    """
    addresses = {name: node.address for name, node in cluster.nodes.items()}
    before = read_tables(cluster)
    on_each(
        addresses,
        lambda name: cluster.nodes[name].helper.run(nft.datagrams(a for n, a in addresses.items() if n != name)),
    )
    after = read_tables(cluster)
    return {
        (source, receiver): fate(before[receiver], after[receiver], address, cut)
        for source, address in addresses.items()
        for receiver in addresses
        if source != receiver
    }


def fate(before: nft.TableState, after: nft.TableState, source: str, cut: str) -> str:
    """What became of the datagram from this address, by the receiver's table before and after."""
    arrived = after.arrived.get(source, 0) > before.arrived.get(source, 0)
    counted, earlier = after.dropped.get(cut, {}), before.dropped.get(cut, {})
    dropped = counted.get(source, 0) > earlier.get(source, 0)
    if arrived and dropped:
        return BOTH
    if arrived or dropped:
        return ARRIVED if arrived else DROPPED
    elsewhere = any(source in sources for name, sources in after.cuts.items() if name != cut)
    return ELSEWHERE if elsewhere else LOST


def judge(fates: Mapping[Pair, str], cut: frozenset[Pair]) -> Evidence:
    """Whether exactly these pairs are separated. What another cut holds apart is not ours to judge."""
    wrong = [pair for pair, fate in fates.items() if fate not in ((DROPPED,) if pair in cut else (ARRIVED, ELSEWHERE))]
    detail: dict[str, object] = {"matrix": {f"{a}>{b}": fate for (a, b), fate in sorted(fates.items())}}
    if wrong:
        detail["wrong"] = [list(pair) for pair in sorted(wrong)]
    return Evidence(not wrong, detail)
