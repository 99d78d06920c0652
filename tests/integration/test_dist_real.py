"""The distribution client against real nodes of OTP 25 and 27. Its hard days: test_dist_ticks, _loss, _endurance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nodes import evaluate

from harness.dist import Connection
from harness.errors import CallTimeout, HandshakeRefused, HarnessError, NoSuchNode, NotSent, RemoteError
from harness.etf import Atom, Export, Pid, Reference

pytestmark = pytest.mark.docker

OTPS = (25, 27)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def nodes(start_erlang: Any) -> dict[int, Any]:
    return {otp: start_erlang(otp) for otp in OTPS}


@pytest.fixture(params=OTPS)
def node(request: pytest.FixtureRequest, nodes: dict[int, Any]) -> Any:
    return nodes[request.param]


@pytest.fixture
def link(node: Any) -> Iterator[Connection]:
    connection = node.connect()
    yield connection
    connection.close()


def test_calls(link: Connection, node: Any) -> None:
    for call in (link.rpc, link.erpc):
        assert call("erlang", "system_info", [Atom("otp_release")]) == list(str(node.otp).encode())
        assert call("lists", "seq", [1, 1000]) == list(range(1, 1001))
        assert call("lists", "map", [Export(Atom("erlang"), Atom("abs"), 1), [-1, 2]]) == [1, 2]
        assert isinstance(call("erlang", "self"), Pid)
        assert isinstance(call("erlang", "make_ref"), Reference)
    until(lambda: link.rpc("erlang", "nodes", [Atom("hidden")]) == ["harness@harness"])  # earlier ones are gone
    assert link.rpc("erlang", "nodes") == []


def test_failures(link: Connection) -> None:
    for call in (link.rpc, link.erpc):
        with pytest.raises(RemoteError, match="boom") as raised:
            call("erlang", "error", [Atom("boom")])
        assert raised.value.klass == "error"
        with pytest.raises(RemoteError) as raised:
            call("erlang", "exit", [Atom("boom")])
        assert (raised.value.klass, raised.value.reason) == ("exit", "boom")
        with pytest.raises(RemoteError, match="undef"):
            call("no_such", "function", [1])
    with pytest.raises(RemoteError) as raised:
        link.erpc("erlang", "throw", [Atom("ball")])
    assert (raised.value.klass, raised.value.reason) == ("throw", "ball")
    assert link.rpc("erlang", "throw", [Atom("ball")]) == "ball"  # rex cannot tell


def test_output_of_the_called_code_blocks_nothing(link: Connection) -> None:
    for call in (link.rpc, link.erpc):
        assert call("io", "format", [b"from afar~n"]) == "ok"
    assert link.erpc("io", "get_line", [b"> "]) == "eof"


def test_late_answers_are_dropped(link: Connection) -> None:
    for number, call in enumerate((link.rpc, link.erpc)):
        name = Atom(f"late{number}")
        with pytest.raises(CallTimeout):
            evaluate(call, f"register({name}, self()), receive go -> late end.", timeout=0.5)
        until(lambda name=name: link.rpc("erlang", "whereis", [name]) is not None)
        link.send_named(name, Atom("go"))
        until(lambda name=name: link.rpc("erlang", "whereis", [name]) is None)
        assert [call("erlang", "abs", [-n]) for n in range(50)] == list(range(50))
    assert not link.calls


def test_a_cast_and_a_message_arrive(link: Connection) -> None:
    env = [Atom("stdlib"), Atom("cast_arrived")]
    link.cast("application", "set_env", [*env, True])
    until(lambda: link.rpc("application", "get_env", env) == ("ok", True))
    link.send_named("application_controller", ("not", "understood"))
    assert link.rpc("erlang", "is_process_alive", [link.rpc("erlang", "whereis", [Atom("rex")])]) is True


def test_many_at_once(link: Connection) -> None:
    wrong: list[Any] = []

    def calls(seed: int) -> None:
        for n in range(50):
            call = link.rpc if (seed + n) % 2 else link.erpc
            if call("erlang", "+", [seed, n], timeout=60) != seed + n:
                wrong.append((seed, n))

    threads = [threading.Thread(target=calls, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
    assert not link.calls


def test_terms_survive_a_live_node(link: Connection) -> None:
    terms = [1 << 70, -1.5, (), [], [1, [2]], {b"a": {Atom("b"): ()}}, "é", Atom("\u03b1"), None, False, [300, 1]]
    expected = [term.encode() if type(term) is str else term for term in terms]
    assert link.rpc("erlang", "hd", [[terms]]) == expected


def test_refusals(node: Any) -> None:
    with pytest.raises(HandshakeRefused, match="cookies differ") as refused:
        node.connect(cookie="wrong", local="other@harness")
    assert refused.value.reason == "cookie"
    with pytest.raises(NoSuchNode, match=f"nobody@{node.host}: epmd"):
        node.connect(peer=f"nobody@{node.host}")
    with pytest.raises(NotSent, match="refused"):
        node.connect(port=1)


def test_the_same_name_again_replaces_the_dead_connection(node: Any) -> None:
    lost: list[HarnessError] = []
    first = node.connect(local="slot@harness", on_close=lost.append)
    assert first.rpc("erlang", "abs", [-1]) == 1
    second = node.connect(local="slot@harness")
    until(lambda: first.closed and bool(lost))
    assert second.rpc("erlang", "nodes", [Atom("hidden")]).count("slot@harness") == 1
    second.close()
