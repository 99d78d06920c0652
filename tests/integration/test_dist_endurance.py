"""Much at once: large terms beside small ones, slow links, floods, printing; and memory that stays where it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from children import RUNTIMES, StartChild, to
from commands import wait_until
from nodes import ErlangNode, StartErlang, evaluate
from wires import wire

from harness.dist import Connection

pytestmark = pytest.mark.docker

TICKTIME = 4.0
LARGE = 20 << 20


@pytest.fixture(scope="module")
def nodes(start_erlang: StartErlang) -> dict[int, ErlangNode]:
    return {otp: start_erlang(otp, "-kernel", "net_ticktime", "4") for otp in (25, 27)}


@pytest.fixture(params=[25, 27])
def node(request: pytest.FixtureRequest, nodes: dict[int, ErlangNode]) -> ErlangNode:
    return nodes[request.param]


@pytest.fixture
def link(node: ErlangNode) -> Iterator[Connection]:
    connection = node.connect(ticktime=TICKTIME)
    yield connection
    connection.close()


# --- large terms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_large_terms_and_small_calls_at_once(node: ErlangNode, child: StartChild, runtime: str) -> None:
    told = child("large", runtime, to(node, ticktime=TICKTIME), number=LARGE).told()
    assert set(told["small"]) == {"ok"}
    assert told["small"]["ok"] > 20
    assert not told["closed"]


@pytest.mark.parametrize(("otp", "runtime"), [(25, "threads"), (27, "greenlets")])
def test_frames_that_take_several_ticks(start_erlang: StartErlang, child: StartChild, otp: int, runtime: str) -> None:
    """A tick may not land in the middle of one, and who still reads or writes is not silent.

    The node hears nothing before such a frame is whole: its ticktime leaves a busy machine twice the time.
    """
    node = start_erlang(otp, "-kernel", "net_ticktime", "8")
    with wire(node, rate=LARGE / 5) as slow:
        through = to(node, host="127.0.0.1", port=slow.port, ticktime=8.0)
        assert child("slow", runtime, through, number=LARGE / 2).told() == {"closed": False}


@pytest.mark.parametrize(("otp", "runtime"), [(25, "threads"), (27, "greenlets")])
def test_terms_that_take_longer_than_the_ticktime(
    nodes: dict[int, ErlangNode], child: StartChild, otp: int, runtime: str
) -> None:
    """A node counts whole packets only, so the term has to go, and to come, in fragments."""
    with wire(nodes[otp], rate=LARGE / 6) as slow:
        through = to(nodes[otp], host="127.0.0.1", port=slow.port, ticktime=TICKTIME, atom_cache=True)
        assert child("slow", runtime, through, number=LARGE).told() == {"closed": False}


def test_bytes_that_come_and_go_one_by_one(node: ErlangNode) -> None:
    with wire(node, piece=1) as chopped:
        link = node.connect(host="127.0.0.1", port=chopped.port, local="chopped@harness", ticktime=TICKTIME)
        numbers = list(range(200))
        for call in (link.rpc, link.erpc):
            assert call("lists", "reverse", [numbers], timeout=60) == numbers[::-1]
        link.close()


# --- floods --------------------------------------------------------------------------------------------------------


def calls_go_on(link: Connection, flood: Callable[[], Any], callers: int = 8) -> None:
    """Calls of many threads are answered, rightly, before, during and after `flood`."""
    over = threading.Event()
    wrong: list[Any] = []
    done = [0] * callers

    def call(index: int) -> None:
        ask = link.rpc if index % 2 else link.erpc
        while not over.is_set():
            try:
                if ask("erlang", "+", [index, 1], timeout=60) != index + 1:
                    wrong.append(index)
            except Exception as error:
                wrong.append(error)
                return
            done[index] += 1

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(done), "calls before")
        flood()
        during = list(done)
        wait_until(lambda: wrong or all(n > d for n, d in zip(done, during, strict=True)), "calls after")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong


FLOOD = """
Flood = fun(Me) ->
    [{'nobody here', 'harness@harness'} ! {'$gen_cast', {N, <<0:800>>}} || N <- lists:seq(1, 500)],
    [{rex, 'harness@harness'} ! {'$gen_call', {self(), make_ref()}, {N, #{}}} || N <- lists:seq(1, 500)],
    Me ! done end,
Me = self(),
[spawn(fun() -> Flood(Me) end) || _ <- lists:seq(1, 20)],
[receive done -> ok end || _ <- lists:seq(1, 20)],
sent.
"""


def test_messages_to_nobody_here(link: Connection) -> None:
    calls_go_on(link, lambda: evaluate(link.rpc, FLOOD))


PRINTING = """
Print = fun(Me) ->
    [io:format("~p ~ts~n", [N, [1234, 955, $x]]) || N <- lists:seq(1, 100)],
    ok = io:format("~s", [lists:duplicate(100000, $x)]),
    eof = io:get_line("> "),
    io:columns(),
    io:setopts([{encoding, unicode}]),
    Me ! {printed, self()} end,
Me = self(),
Pids = [spawn(fun() -> Print(Me) end) || _ <- lists:seq(1, 20)],
[receive {printed, Pid} -> ok after 60000 -> exit({stuck, Pid}) end || Pid <- Pids],
printed.
"""


def test_printing_to_us(link: Connection) -> None:
    """erpc makes us the group leader of what it calls, and of whatever that spawns."""
    assert link.erpc("erlang", "group_leader").node == "harness@harness"
    calls_go_on(link, lambda: evaluate(link.erpc, PRINTING))


def test_a_sender_that_is_suspended_because_we_read_slowly(start_erlang: StartErlang) -> None:
    """``+zdbbl 1``: a kilobyte waiting for us, and who sends more is suspended until we have read."""
    node = start_erlang(27, "+zdbbl", "1")
    with wire(node, rate=LARGE / 6) as slow:
        link = node.connect(host="127.0.0.1", port=slow.port, local="busy@harness")
        calls_go_on(link, lambda: link.rpc("binary", "copy", [b"x", LARGE >> 2], timeout=120))
        link.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_callers_that_leave_while_others_wait(node: ErlangNode, child: StartChild, runtime: str) -> None:
    told = child("impatient", runtime, to(node), number=100).told()
    assert told["patient"] == {"ok": told["patient"]["ok"]}
    assert "CallTimeout" in told["impatient"]
    assert told["impatient"].keys() <= {"ok", "CallTimeout", "NotSent"}
    assert told["interrupted"] == 8
    assert not told["closed"]


# --- memory --------------------------------------------------------------------------------------------------------

GROWTH = 2 << 20  # bytes: allocators take a third of it, 30 bytes kept of each of 75,000 calls all of it


def stays(told: dict[str, Any]) -> None:
    assert told["grown"][-1] < GROWTH, told


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("runtime", "pure"), [("threads", ""), ("greenlets", "1")])
def test_memory_after_a_hundred_thousand_calls(
    nodes: dict[int, ErlangNode], child: StartChild, runtime: str, pure: str
) -> None:
    stays(child("weigh", runtime, to(nodes[27]), number=100_000, HARNESS_PURE=pure).told())


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("pure", ["", "1"])
def test_memory_after_a_million_calls(nodes: dict[int, ErlangNode], child: StartChild, runtime: str, pure: str) -> None:
    stays(child("weigh", runtime, to(nodes[27]), number=1_000_000, HARNESS_PURE=pure).told())
