"""Ten thousand random terms through a live node of each OTP, there and back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from nodes import ErlangNode, StartErlang
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
        assert exactly(link.rpc("erlang", "binary_to_term", [term_to_binary(sent, {"compressed": 6})])) == exactly(sent)
        theirs = link.rpc("erlang", "term_to_binary", [sent], timeout=60.0)
        term, rest = binary_to_term(theirs)
        assert (exactly(term), rest) == (exactly(sent), b"")
        if node.otp >= 26:  # older nodes write atoms in their older form
            assert term_to_binary(term) == theirs
