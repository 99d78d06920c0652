"""However users, workers, nodes and weights are chosen, the load is split as the scenario says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.workload import part_of, place, shares
from harness.scenario.model import RpcCall
from harness.scenario.plan import PlannedOperation

NODES = ["n1", "n2", "n3", "n4", "n5"]
CALL = RpcCall(module="m", function="f")
OPERATIONS = st.lists(st.tuples(st.integers(1, 9), st.sets(st.sampled_from(NODES), min_size=1)), min_size=1, max_size=6)


@given(OPERATIONS)
def test_each_operation_gets_its_weight(drawn: list[tuple[int, set[str]]]) -> None:
    operations = [
        PlannedOperation(name=f"o{i}", kind="rpc", weight=weight, on=tuple(sorted(on)), call=CALL)
        for i, (weight, on) in enumerate(drawn)
    ]
    split = shares(operations, NODES, len(NODES))
    assert sum(share.part for share in split) == pytest.approx(1.0)
    total = sum(weight for weight, _ in drawn)
    for index, (weight, on) in enumerate(drawn):
        gets = {
            share.node: share.part * share.weights[share.operations.index(index)] / sum(share.weights)
            for share in split
            if index in share.operations
        }
        assert set(gets) == on
        assert all(part == pytest.approx(weight / total / len(on)) for part in gets.values())


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(1, 5))
def test_users_are_even_over_nodes_and_parts_add_up(users: list[int], count: int) -> None:
    nodes = NODES[:count]
    placed = place(users, nodes)
    assert [len(mine) for mine in placed] == users
    everyone = Counter(node for mine in placed for node in mine)
    if everyone:
        per_node = [everyone[node] for node in nodes]
        assert max(per_node) - min(per_node) <= 1
    for node in everyone:
        assert sum(part_of(node, mine, everyone) for mine in placed) == pytest.approx(1.0)
