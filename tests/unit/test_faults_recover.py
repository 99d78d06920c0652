"""Whose copy survives, and the ids a node hands out."""

from __future__ import annotations

import struct

import pytest

from harness.cluster.copies import unpack
from harness.errors import HarnessError
from harness.etf import Atom
from harness.faults.islands import Decision, decide

ALL = {"n1", "n2", "n3"}


def test_minority_loses() -> None:
    split = {"n1": {"n1"}, "n2": {"n2", "n3"}, "n3": {"n2", "n3"}}
    assert decide(split) == Decision(("n2", "n3"), ("n1",))


def test_consistent_views_leave_nothing_to_do() -> None:
    assert decide(dict.fromkeys(ALL, ALL)) == Decision(("n1", "n2", "n3"), ())


def test_a_node_between_two_sides_does_not_join_them() -> None:
    # n1 and n2 were cut from each other, n3 sees both (prevent_overlapping_partitions false)
    assert decide({"n1": {"n1", "n3"}, "n2": {"n2", "n3"}, "n3": ALL}) == Decision(("n1", "n3"), ("n2",))


def test_sight_has_to_be_mutual() -> None:
    assert decide({"n1": {"n1", "n2"}, "n2": {"n2"}}) == Decision(("n1",), ("n2",))


def test_of_equally_large_sides_the_one_with_more_rows_wins() -> None:
    # healed after n1 | n2 n3, and prevent_overlapping_partitions took n2 and n3 apart
    alone = {name: {name} for name in ALL}
    assert decide(alone, rows={"n1": 40, "n2": 120, "n3": 120}) == Decision(("n2",), ("n1", "n3"))


def test_stopped_mnesia_loses() -> None:
    assert decide({"n1": set(), "n2": {"n2"}}) == Decision(("n2",), ("n1",))


def test_named_masters_win_over_everyone_even_where_views_agree() -> None:
    # restart of only one loser: all views agree and the copies do not
    assert decide(dict.fromkeys(ALL, ALL), ["n2"]) == Decision(("n2",), ("n1", "n3"))


@pytest.mark.parametrize(
    ("views", "masters", "told"),
    [
        ({"n1": set(), "n2": set()}, (), "runs on no node"),
        ({"n1": {"n1"}, "n2": set()}, ("n2",), "n2: named as master and down"),
        ({"n1": {"n1"}}, ("n9",), "n9: named as master and down"),
        ({"n1": {"n1"}, "n2": {"n2"}}, ("n1", "n2"), "do not see each other"),
    ],
)
def test_impossible_recoveries(views: dict[str, set[str]], masters: tuple[str, ...], told: str) -> None:
    with pytest.raises(HarnessError, match=told):
        decide(views, masters)


def test_ids_are_unpacked() -> None:
    ids, more = unpack((struct.pack(">3Q", 7, 2**64 - 1, 0), Atom("done")))
    assert [int(id) for id in ids] == [7, 2**64 - 1, 0]
    assert more == "done"


@pytest.mark.parametrize("answer", [(b"1234567", Atom("done")), (Atom("error"), Atom("no_copy")), None, b"", (b"",), 3])
def test_other_answers_are_one_error(answer: object) -> None:
    with pytest.raises(HarnessError, match="n1: read copy"):
        unpack(answer, "n1")
