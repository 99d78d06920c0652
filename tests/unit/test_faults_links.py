"""What a datagram's fate says about a cut."""

from __future__ import annotations

import pytest

from harness.faults.links import ARRIVED, BOTH, DROPPED, ELSEWHERE, LOST, fate, judge
from harness.faults.nft import TableState

A = "198.18.0.3"
QUIET = TableState()


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (TableState(arrived={A: 1}), ARRIVED),
        (TableState(cuts={"cut_x": frozenset({A})}, dropped={"cut_x": {A: 1}}), DROPPED),
        (TableState(arrived={A: 1}, dropped={"cut_x": {A: 1}}), BOTH),
        (TableState(cuts={"cut_y": frozenset({A})}, dropped={"cut_y": {A: 1}}), ELSEWHERE),
        (TableState(cuts={"cut_x": frozenset({A})}), LOST),
        (TableState(arrived={"198.18.0.9": 1}), LOST),
    ],
)
def test_fate(after: TableState, expected: str) -> None:
    assert fate(QUIET, after, A, "cut_x") == expected


def test_only_what_rose_counts() -> None:
    before = TableState(arrived={A: 5}, dropped={"cut_x": {A: 2}})
    assert fate(before, before, A, "cut_x") == LOST


def test_exactly_the_pairs_of_the_cut_have_to_be_silent() -> None:
    cut = frozenset({("n1", "n2")})
    assert judge({("n1", "n2"): DROPPED, ("n2", "n1"): ARRIVED}, cut).ok
    assert judge({("n1", "n2"): DROPPED, ("n2", "n1"): ELSEWHERE}, cut).ok
    told = judge({("n1", "n2"): ARRIVED, ("n2", "n1"): DROPPED}, cut)
    assert not told.ok
    assert told.detail["wrong"] == [["n1", "n2"], ["n2", "n1"]]
    assert not judge({("n1", "n2"): LOST, ("n2", "n1"): ARRIVED}, cut).ok, "no proof that it was dropped"
