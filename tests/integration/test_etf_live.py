"""Ten thousand random terms through a live node of each OTP, there and back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from nodes import ErlangNode, StartErlang, evaluate
from terms import RandomTerms, exactly

from harness.dist import Connection
from harness.etf import Atom, Pid, binary_to_term, same_term, term_to_binary

pytestmark = pytest.mark.docker

BATCHES, TERMS = 100, 100  # for each OTP
SEED = random.randrange(1 << 32)


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    return start_erlang(request.param)


@pytest.fixture(scope="module")
def link(node: ErlangNode) -> Iterator[Connection]:
    connection = node.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def creator(node: ErlangNode, link: Connection) -> Pid | None:
    """Whose the funs are that come back from the node; None: whose they were."""
    return link.rpc("erlang", "whereis", [Atom("init")]) if node.otp >= 26 else None


def test_random_terms_come_back_equal(link: Connection, creator: Pid | None) -> None:
    print(f"seed {SEED}")  # shown when something fails
    terms = RandomTerms(SEED, creator)
    for _ in range(BATCHES):
        sent = [terms.make() for _ in range(TERMS)]
        back = link.rpc("erlang", "hd", [[sent]], timeout=60.0)
        for there, here in zip(back, sent, strict=True):
            assert exactly(there) == exactly(here)
            assert there == here
            assert same_term(there, here)


def test_the_node_s_own_bytes_are_written_again(node: ErlangNode, link: Connection, creator: Pid | None) -> None:
    print(f"seed {SEED}")
    terms = RandomTerms(SEED + 1, creator)
    for _ in range(BATCHES // 20):
        sent = [terms.make() for _ in range(TERMS)]
        packed = term_to_binary(sent, {"compressed": 6})
        assert exactly(link.rpc("erlang", "binary_to_term", [packed], timeout=60.0)) == exactly(sent)
        theirs = link.rpc("erlang", "term_to_binary", [sent], timeout=60.0)
        term, rest = binary_to_term(theirs)
        assert (exactly(term), rest) == (exactly(sent), b"")
        if node.otp >= 26:  # older nodes write atoms in their older form
            assert term_to_binary(term) == theirs


def test_compressed_where_a_node_compresses(link: Connection) -> None:
    sent = [b"a" * count for count in range(30)]  # of 15 bytes the result is as long as the term
    for term in sent:
        theirs = link.rpc("erlang", "term_to_binary", [term, [Atom("compressed")]])
        assert term_to_binary(term, {"compressed": True}) == theirs
        assert binary_to_term(theirs) == (term, b"")


def test_a_node_s_maps_as_keys_take_no_longer_than_others(node: ErlangNode, link: Connection) -> None:
    """Keys that Python cannot tell by their hashes, within each other."""
    source = "F = fun F(0, L) -> L; F(N, L) -> #{1 => F(N - 1, L), 1.0 => 0} end, #{F(100, -1) => 1, F(100, -2) => 2}."
    assert sorted(value for _, value in evaluate(link.rpc, source).items()) == [1, 2]
    zeros, same = evaluate(link.rpc, "{#{0.0 => a, -0.0 => b}, 0.0 =:= -0.0}.")
    assert (len(zeros), same) == ((2, False) if node.otp >= 27 else (1, True))
    assert same_term(0.0, -0.0) is False
