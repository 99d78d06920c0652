"""Who is asked what, and what answers mean."""

from __future__ import annotations

import pytest

from harness import errors
from harness.errors import UsageError
from harness.etf import Atom, Export
from harness.history import FAIL, OK, UNKNOWN
from harness.load import workload
from harness.load.workload import Bounded, judge, judge_error, part_of, place, shares
from harness.scenario.model import RpcCall
from harness.scenario.plan import PlannedOperation

NO_EXISTS = (Atom("aborted"), (Atom("no_exists"), Atom("kv")))


def operation(name: str, weight: int, *on: str) -> PlannedOperation:
    call = RpcCall(module="m", function="f", args=(":hello", 1))
    return PlannedOperation(name=name, kind="rpc", weight=weight, on=on, call=call)


def test_shares_give_each_operation_its_weight_over_its_nodes() -> None:
    split = shares([operation("a", 3, "n1", "n2", "n3"), operation("b", 1, "n2")], ["n1", "n2", "n3"], 10)
    assert [(s.node, s.part, s.operations) for s in split] == [
        ("n1", 0.25, (0,)),
        ("n2", 0.5, (0, 1)),
        ("n3", 0.25, (0,)),
    ]
    assert [split[1].pick(u) for u in (0.0, 0.49, 0.51, 0.999)] == [0, 0, 1, 1]


def test_fewer_users_than_nodes() -> None:
    assert [s.node for s in shares([operation("a", 1, "n1", "n2")], ["n1", "n2"], 1)] == ["n1"]
    with pytest.raises(UsageError, match=r"1 user\(s\) never reach b on n2; set load.users to 2"):
        shares([operation("a", 1, "n1"), operation("b", 1, "n2")], ["n1", "n2"], 1)


def test_place_goes_round_over_all_workers() -> None:
    assert place([2, 1], ["n1", "n2", "n3"]) == [["n1", "n2"], ["n3"]]
    assert place([3, 3], ["n1", "n2"]) == [["n1", "n2", "n1"], ["n2", "n1", "n2"]]
    assert part_of("n1", ["n1", "n2", "n1"], {"n1": 3, "n2": 3}) == 2 / 3
    assert part_of("n9", [], {}) == 0.0


def test_requests() -> None:
    assert workload.rpc(operation("a", 1, "n1")).args == (Atom("hello"), 1)
    write = workload.write("kv", "sync_dirty", 7, b"v")
    assert (write.module, write.function) == ("mnesia", "sync_dirty")
    assert write.args == (
        Export(Atom("mnesia"), Atom("write"), 3),
        [Atom("kv"), (Atom("kv"), 7, b"v"), Atom("write")],
    )
    assert workload.read("kv", "transaction", 7).args[1] == [(Atom("kv"), 7)]
    assert workload.update("kv", "transaction", 3, 99).args[1] == [Atom("kv"), (Atom("key"), 3), 99]


def test_answers() -> None:
    ok = Atom("ok")
    assert judge("write", "transaction", (Atom("atomic"), ok)).outcome == OK
    refused = judge("write", "transaction", (Atom("aborted"), (Atom("no_majority"), Atom("kv"))))
    assert (refused.outcome, refused.reason) == (FAIL, "no_majority")
    assert judge("write", "async_dirty", ok).outcome == OK
    assert judge("write", "async_dirty", Atom("strange")).outcome == UNKNOWN
    assert judge("write", "transaction", ok).outcome == UNKNOWN
    assert judge("read", "sync_dirty", [(Atom("kv"), 1, b"v")]).value == 1
    assert judge("read", "transaction", (Atom("atomic"), [])).value == 0
    assert judge("rpc", "", (Atom("error"), Atom("whatever"))).outcome == OK  # it ran


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.NotSent("rpc"), (FAIL, "not_sent")),
        (errors.NoSuchNode("rpc"), (FAIL, "not_sent")),
        (errors.HandshakeRefused("connect", "alive"), (FAIL, "not_sent")),
        (errors.EncodeError("encode"), (FAIL, "not_a_term")),
        (errors.CallTimeout("rpc"), (UNKNOWN, "timeout")),
        (errors.ConnectionLost("rpc"), (UNKNOWN, "connection_lost")),
        (errors.RemoteError("rpc", "badrpc", Atom("nodedown")), (UNKNOWN, "badrpc_nodedown")),
        (errors.RemoteError("rpc", "error", (Atom("undef"), [])), (UNKNOWN, "badrpc_undef")),
        (errors.RemoteError("rpc", "exit", NO_EXISTS), (UNKNOWN, "badrpc_no_exists")),
        (errors.RemoteError("rpc", "error", b"anything at all"), (UNKNOWN, "badrpc")),
        (errors.RemoteError("rpc", "error", Atom("Not a word")), (UNKNOWN, "badrpc")),
    ],
)  # fmt: skip
def test_errors(error: errors.HarnessError, told: tuple[int, str]) -> None:
    assert judge_error(error) == told


def test_reasons_are_bounded() -> None:
    reason = Bounded(2)
    assert [reason(word) for word in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
