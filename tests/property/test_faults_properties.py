"""Names in nft scripts, and who wins a recovery, for any input."""

from __future__ import annotations

import re
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from harness.faults import nft
from harness.faults.islands import decide

NODES = ("n1", "n2", "n3", "n4", "n5", "n6")
ADDRESSES = st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=8, unique=True)


@given(st.text())
def test_any_step_id_becomes_an_nft_identifier(fault: str) -> None:
    assert re.fullmatch(r"cut_[a-z0-9_]{0,61}", nft.cut_name(fault))


@given(st.text(), st.text())
def test_different_steps_never_share_a_set(a: str, b: str) -> None:
    assert (nft.cut_name(a) == nft.cut_name(b)) == (a == b)


@given(st.text(), ADDRESSES, st.floats(min_value=0.001, max_value=3600))
def test_scripts_hold_nothing_a_shell_or_nft_could_misread(fault: str, sources: list[str], timeout: float) -> None:
    name = nft.cut_name(fault)
    for script in (nft.cut(name, sources, timeout), nft.renew(name, sources, timeout), nft.heal(name)):
        assert re.fullmatch(r"[a-z0-9_ ,.;{}@\n-]*", script)
        assert script.count("{") == script.count("}")
        assert nft.command(script) == f"nft '{script}'"


@given(st.text(), ADDRESSES)
def test_all_sources_are_in_the_set_and_expire(fault: str, sources: list[str]) -> None:
    added = nft.cut(nft.cut_name(fault), sources, 4.0).splitlines()[-1]
    assert re.findall(r"([0-9.]+) timeout 4000ms", added) == sources


@given(st.lists(st.integers(min_value=0, max_value=3), min_size=len(NODES), max_size=len(NODES)))
def test_after_a_clean_split_the_largest_side_wins(side: list[int]) -> None:
    sides = {n: {m for m, s in zip(NODES, side, strict=True) if s == side[NODES.index(n)]} for n in NODES}
    decision = decide(sides)
    assert set(decision.winners) | set(decision.losers) == set(NODES)
    assert sides[decision.winners[0]] == set(decision.winners)
    best = max(len(view) for view in sides.values())
    assert len(decision.winners) == best
    assert decision.winners[0] == min(n for n in NODES if len(sides[n]) == best)


@given(st.sets(st.sampled_from(list(combinations(NODES, 2)))))
def test_winners_always_see_each_other(apart: set[tuple[str, str]]) -> None:
    views = {n: {m for m in NODES if (min(n, m), max(n, m)) not in apart} for n in NODES}
    winners = decide(views).winners
    assert all(b in views[a] for a in winners for b in winners)
    for other in set(NODES) - set(winners):
        assert any(other not in views[w] for w in winners), "could have been a winner as well"
