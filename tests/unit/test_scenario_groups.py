"""Partitions as data."""

from __future__ import annotations

import pytest

from harness.scenario.groups import components, cut_pairs, majority, partial

ABC = ("a", "b", "c")


@pytest.mark.parametrize(
    ("groups", "nodes", "cut", "islands", "is_partial"),
    [
        ([["a"], ["b", "c"]], ABC, {"ab", "ba", "ac", "ca"}, (("a",), ("b", "c")), False),
        ([["a"], ["b"], ["c"]], ABC, {"ab", "ba", "ac", "ca", "bc", "cb"}, (("a",), ("b",), ("c",)), False),
        ([["a"], ["b"]], ABC, {"ab", "ba"}, (("a", "b", "c"),), True),
        ([["a", "b", "c"], []], ABC, set(), (("a", "b", "c"),), False),
        ([["a"], ["x"]], ABC, set(), (("a", "b", "c"),), False),
        ([["c", "a"], ["d", "b"]], "abcd", {"cd", "dc", "cb", "bc", "ad", "da", "ab", "ba"},
         (("a", "c"), ("b", "d")), False),
    ],
)  # fmt: skip
def test_who_is_cut_from_whom(
    groups: list[list[str]], nodes: tuple[str, ...], cut: set[str], islands: object, is_partial: bool
) -> None:
    pairs = cut_pairs(groups, nodes)
    assert {a + b for a, b in pairs} == cut
    assert components(nodes, pairs) == islands
    assert partial(nodes, pairs) is is_partial


def test_islands_are_joined_by_links_that_work_both_ways() -> None:
    assert components(ABC, [("a", "b"), ("a", "c")]) == (("a",), ("b", "c"))


def test_majority_is_more_than_half_of_the_copies() -> None:
    assert majority(["b", "c"], ABC)
    assert not majority(["a"], ABC)
    assert not majority(["a", "b"], "abcd")
    assert majority(["a", "x"], ["a"])
