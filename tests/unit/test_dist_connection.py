"""One connection under many callers, against a peer on loopback that does what each test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeLink, FakePeer, nobody_listens

from harness.dist import THREADS, Connection, connect
from harness.dist.calls import Envelope, Event
from harness.dist.protocol.framing import TICK, frame
from harness.dist.runtime import ThreadRuntime
from harness.errors import (
    CallTimeout,
    ConnectionLost,
    EncodeError,
    HandshakeRefused,
    HarnessError,
    NotSent,
    RemoteError,
    UsageError,
)
from harness.etf import Atom, Pid, encode

WAIT = 60.0
DEEP = b"h\1" * 600 + b"j"


def dial(peer: FakePeer, **changes: Any) -> Connection:
    return connect(peer.name, **{"host": "127.0.0.1", "port": peer.port, "cookie": "c", **changes})


class Callers:
    """Calls made at once, each in a thread; what became of them, in order."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.outcomes: list[Any] = [None] * len(calls)
        self._threads = [threading.Thread(target=self._run, args=item, daemon=True) for item in enumerate(calls)]
        for thread in self._threads:
            thread.start()

    def _run(self, index: int, call: Callable[[], Any]) -> None:
        try:
            self.outcomes[index] = call()
        except HarnessError as error:
            self.outcomes[index] = error

    def wait(self) -> list[Any]:
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        return self.outcomes


def until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(WAIT * 200)):
        if condition():
            return
        waited.wait(0.005)
    raise AssertionError("did not come about")


def echo(link: FakeLink) -> None:
    while (call := link.call()) is not None:
        pid, ref, _module, _function, args = call
        link.reply(pid, ref, args)


def echo_one(link: FakeLink) -> None:
    call = link.call()
    assert call is not None
    link.reply(call[0], call[1], call[4])


def silent(link: FakeLink) -> None:
    while link.packet() is not None:
        pass


def test_calls_and_answers() -> None:
    with FakePeer(echo) as peer:
        connection = dial(peer)
        assert [connection.rpc("m", "f", [n]) for n in range(5)] == [[n] for n in range(5)]
        assert not connection.closed
        big = b"x" * 20_000_000
        assert connection.rpc("m", "f", [big], timeout=WAIT) == [big]
        connection.close()
        assert connection.closed


def test_answers_in_any_order() -> None:
    def backwards(link: FakeLink) -> None:
        calls = [link.call() for _ in range(3)]
        for call in reversed(calls):
            assert call is not None
            link.reply(call[0], call[1], call[4])
        silent(link)

    with FakePeer(backwards) as peer:
        connection = dial(peer)
        callers = Callers(*(lambda n=n: connection.rpc("m", "f", [n], WAIT) for n in (1, 2, 3)))
        assert callers.wait() == [[1], [2], [3]]
        connection.close()


def test_a_late_answer_is_dropped() -> None:
    def late(link: FakeLink) -> None:
        first, second = link.call(), link.call()
        assert first is not None
        assert second is not None
        link.reply(first[0], first[1], Atom("late"))
        link.reply(second[0], second[1], Atom("in_time"))
        silent(link)

    with FakePeer(late) as peer:
        connection = dial(peer)
        with pytest.raises(CallTimeout, match=r"fake@fake: rpc m:f/0: no answer within 0\.01 s"):
            connection.rpc("m", "f", timeout=0.01)
        assert connection.rpc("m", "f", timeout=WAIT) == "in_time"
        assert not connection.calls
        connection.close()


def test_loss_reaches_every_caller_at_once() -> None:
    def vanish(link: FakeLink) -> None:
        for _ in range(5):
            link.call()

    told: list[HarnessError] = []
    with FakePeer(vanish) as peer:
        connection = dial(peer, on_close=told.append)
        outcomes = Callers(*[lambda: connection.rpc("m", "f", timeout=None)] * 5).wait()
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5
    until(lambda: len(told) == 1)
    assert "closed by the node" in str(told[0])
    with pytest.raises(NotSent, match="closed by the node"):
        connection.rpc("m", "f")
    with pytest.raises(NotSent):
        connection.cast("m", "f")
    assert not connection.calls


def test_a_defect_in_the_reader_reaches_every_caller_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(_envelope: Envelope, _packet: bytes) -> Event:
        raise RuntimeError("tripped")

    def answer_the_second(link: FakeLink) -> None:
        link.call()
        echo(link)

    monkeypatch.setattr(Envelope, "receive", trip)
    with FakePeer(answer_the_second) as peer:
        connection = dial(peer)
        outcomes = Callers(*[lambda: connection.rpc("m", "f", timeout=None)] * 2).wait()
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 2
    assert "reading failed: RuntimeError: tripped" in str(outcomes[0])
    assert connection.closed


def test_closing_here_wakes_callers_and_tells_nobody_else() -> None:
    told: list[HarnessError] = []
    with FakePeer(silent) as peer:
        connection = dial(peer, on_close=told.append)
        callers = Callers(lambda: connection.rpc("m", "f", timeout=None))
        until(lambda: bool(connection.calls) and not connection.out)
        connection.close()
        connection.close()
        assert isinstance(callers.wait()[0], ConnectionLost)
    assert not told


def test_the_hook_runs_before_each_send_and_sends_are_shared() -> None:
    gate, entered, sends = threading.Event(), threading.Event(), []
    with FakePeer(echo) as peer:
        connection = dial(peer)

        def hook() -> None:
            sends.append(len(connection.out))
            entered.set()
            gate.wait(WAIT)

        connection.before_write = hook
        first = Callers(lambda: connection.rpc("m", "f", [0], WAIT))
        assert entered.wait(WAIT)
        others = Callers(*(lambda n=n: connection.rpc("m", "f", [n], WAIT) for n in range(1, 21)))
        until(lambda: len(connection.out) == 20)
        gate.set()
        assert first.wait() + others.wait() == [[n] for n in range(21)]
        assert len(sends) == 2  # the first alone, then twenty in one
        connection.close()


def test_nothing_is_sent_when_the_hook_fails() -> None:
    received: list[Any] = []

    def listen(link: FakeLink) -> None:
        while (packet := link.packet()) is not None:
            received.append(packet)

    def disk_full() -> None:
        raise OSError("disk full")

    with FakePeer(listen) as peer:
        connection = dial(peer)
        connection.before_write = disk_full
        with pytest.raises(NotSent, match="disk full"):
            connection.rpc("m", "f")
        assert connection.closed
    assert not any(received)


def test_what_still_waits_for_the_writer_at_its_timeout_was_not_sent() -> None:
    gate, entered = threading.Event(), threading.Event()
    with FakePeer(echo) as peer:
        connection = dial(peer)

        def hook() -> None:
            entered.set()
            gate.wait(WAIT)

        connection.before_write = hook
        first = Callers(lambda: connection.rpc("m", "f", [1], WAIT))
        assert entered.wait(WAIT)
        with pytest.raises(NotSent, match="not sent within"):
            connection.rpc("m", "f", [2], timeout=0.01)
        gate.set()
        assert first.wait() == [[1]]
        assert connection.rpc("m", "f", [3], WAIT) == [3]
        connection.close()


def test_ticks_are_answered_and_sent() -> None:
    ticked = threading.Event()

    def tick(link: FakeLink) -> None:
        link.tick()
        for _ in range(3):  # one in answer, others unasked
            assert link.packet() == b""
        ticked.set()
        silent(link)

    with FakePeer(tick) as peer:
        connection = dial(peer, ticktime=0.4)
        assert ticked.wait(WAIT)
        connection.close()


class TickerByHand:
    """A Ticker without a clock: whoever has it ticks."""

    def __init__(self) -> None:
        self.lock = THREADS.ticker.lock
        self.entries: list[tuple[float, Callable[[], bool]]] = []

    def add(self, every: float, tick: Callable[[], bool]) -> None:
        self.entries.append((every, tick))


def test_a_tick_never_falls_into_a_packet_half_written() -> None:
    """The kernel takes only the beginning of a large packet; a tick comes before anybody writes the rest."""
    with FakePeer(echo) as peer:
        connection = dial(peer)
        assert connection.rpc("m", "f", timeout=WAIT) == []
        write_rest = connection._write

        def tick_first() -> object:
            connection._stream.offer(TICK)
            return write_rest()

        connection._write = tick_first
        large = b"x" * 20_000_000
        for argument in (1, 2, large) * 3:  # the small ones keep the connection's own reader away
            assert connection.rpc("m", "f", [argument], timeout=WAIT) == [argument]
        connection.close()


def test_a_silent_peer_is_dead() -> None:
    """Seen within the next tick after a ticktime; nothing that came before counts for it."""
    told: list[HarnessError] = []
    runtime = ThreadRuntime()
    runtime.ticker = ticker = TickerByHand()  # type: ignore[assignment]

    def answer_the_first(link: FakeLink) -> None:
        call = link.call()
        assert call is not None
        link.reply(call[0], call[1], call[4])
        silent(link)

    with FakePeer(answer_the_first) as peer:
        connection = dial(peer, runtime=runtime, ticktime=4.0, on_close=told.append)
        [(every, tick)] = ticker.entries
        assert every == 1.0
        assert connection.rpc("m", "f", timeout=WAIT) == []
        callers = Callers(lambda: connection.rpc("m", "f", timeout=None))
        until(lambda: bool(connection.calls) and not connection.out)
        assert [tick() for _ in range(4)] == [True] * 4  # in the first of them, an answer was heard
        assert not connection.closed
        tick()
        assert [str(lost).count("silent") for lost in callers.wait()] == [1]
        until(lambda: bool(told))
        assert not tick()


@pytest.mark.parametrize(("ticktime", "ticks"), [(0.4, 4), (1.0, 4), (4.5, 5), (8.0, 8), (60.0, 60)])
def test_silence_is_seen_between_a_ticktime_and_a_tick_more(ticktime: float, ticks: int) -> None:
    runtime = ThreadRuntime()
    runtime.ticker = ticker = TickerByHand()  # type: ignore[assignment]
    with FakePeer(silent) as peer:
        connection = dial(peer, runtime=runtime, ticktime=ticktime)
        [(every, tick)] = ticker.entries
        assert every * ticks == pytest.approx(ticktime)
        assert every <= min(ticktime / 4, 1.0)
        assert [tick() and connection.closed for _ in range(ticks - 1)] == [False] * (ticks - 1)
        tick()
        assert connection.closed


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\3abc", b"\0\0\0\4p\x83h\1"])
def test_a_peer_that_breaks_the_protocol_is_left(garbage: bytes) -> None:
    def talk(link: FakeLink) -> None:
        link.call()
        link.sock.sendall(garbage)
        silent(link)

    with FakePeer(talk) as peer:
        connection = dial(peer)
        with pytest.raises(ConnectionLost, match="cannot be read"):
            connection.rpc("m", "f", timeout=WAIT)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\3abc", b"\0\0\0\4p\x83h\1"])
def test_nobody_waits_for_good_when_garbage_follows_answers(garbage: bytes) -> None:
    """In one read: two answers, and what ends the connection."""

    def talk(link: FakeLink) -> None:
        echo_one(link)
        calls = [link.call() for _ in range(3)]
        answers = [
            frame(b"p\x83", encode((2, Atom(""), call[0])), b"\x83", encode((call[1], call[4])))
            for call in calls[:2]
            if call is not None
        ]
        link.sock.sendall(b"".join(answers) + garbage)
        silent(link)

    with FakePeer(talk) as peer:
        connection = dial(peer)
        connection.rpc("m", "f", timeout=WAIT)
        outcomes = Callers(*[lambda: connection.rpc("m", "f", [1], timeout=None)] * 3).wait()
    assert all(outcome == [1] or type(outcome) is ConnectionLost for outcome in outcomes)
    assert ConnectionLost in map(type, outcomes)


def test_an_unreadable_first_result_concerns_its_caller_only() -> None:
    def talk(link: FakeLink) -> None:
        call = link.call()
        assert call is not None
        control = encode((2, Atom(""), call[0]))
        link.sock.sendall(frame(b"p\x83", control, b"\x83h\2", encode(call[1]), DEEP))
        echo(link)

    with FakePeer(talk) as peer:
        connection = dial(peer)
        with pytest.raises(RemoteError, match=r"unreadable answer: .*deeper than 512"):
            connection.rpc("m", "f", timeout=WAIT)
        assert connection.rpc("m", "f", [2], timeout=WAIT) == [2]
        connection.close()


def test_an_unreadable_result_concerns_its_caller_only() -> None:
    def talk(link: FakeLink) -> None:
        for _ in range(2):
            call = link.call()
            assert call is not None
            body = encode((call[1], Atom("marker"))).replace(encode(Atom("marker")), DEEP)
            control = encode((2, Atom(""), call[0]))
            data = b"p\x83" + control + b"\x83" + (encode((call[1], 1)) if not call[4] else body)
            link.sock.sendall(len(data).to_bytes(4, "big") + data)
        echo(link)

    with FakePeer(talk) as peer:
        connection = dial(peer)
        assert connection.rpc("m", "f", timeout=WAIT) == 1
        with pytest.raises(RemoteError, match=r"unreadable answer: .*deeper than 512"):
            connection.rpc("m", "f", [1], timeout=WAIT)
        assert connection.rpc("m", "f", [2], timeout=WAIT) == [2]
        connection.close()


@pytest.mark.parametrize(
    ("answer", "klass", "reason"),
    [
        (("EXIT", (Atom("badarg"), [(Atom("m"), Atom("f"), 0, [])])), "error", "badarg"),
        (("EXIT", Atom("killed")), "exit", "killed"),
        (Atom("nodedown"), "badrpc", "nodedown"),
    ],
)
def test_badrpc(answer: Any, klass: str, reason: str) -> None:
    if isinstance(answer, tuple):
        answer = (Atom("EXIT"), answer[1])

    def fail(link: FakeLink) -> None:
        call = link.call()
        assert call is not None
        link.reply(call[0], call[1], (Atom("badrpc"), answer))
        silent(link)

    with FakePeer(fail) as peer:
        connection = dial(peer)
        with pytest.raises(RemoteError, match=reason) as raised:
            connection.rpc("m", "f", timeout=WAIT)
        assert raised.value.klass == klass
        connection.close()


@pytest.mark.parametrize(
    ("outcome", "klass"),
    [
        (("return", 5), None),
        (("error", Atom("x"), []), "error"),
        (("throw", Atom("x")), "throw"),
        (("exit", Atom("x")), "exit"),
        (None, "exit"),
    ],
)
def test_erpc(outcome: Any, klass: str | None) -> None:
    def spawn(link: FakeLink) -> None:
        got = link.message()
        assert got is not None
        (_op, ref, me, _leader, _mfa, _options), _args = got
        worker = Pid(Atom(peer.name), 5, 0, 77)
        link.send((2, Atom(""), me), (Atom("io_request"), worker, ref, (Atom("put_chars"), Atom("unicode"), b"x")))
        answered = link.message()
        assert answered is not None
        assert answered[1] == ("io_reply", ref, "ok")
        reason = Atom("killed") if outcome is None else (ref, Atom(outcome[0]), *outcome[1:])
        link.send((28, worker, me, ref), reason)
        silent(link)

    with FakePeer(spawn) as peer:
        connection = dial(peer)
        if klass is None:
            assert connection.erpc("m", "f", timeout=WAIT) == 5
        else:
            with pytest.raises(RemoteError) as raised:
                connection.erpc("m", "f", timeout=WAIT)
            assert raised.value.klass == klass
        connection.close()


def test_no_term_no_call() -> None:
    with FakePeer(echo) as peer:
        connection = dial(peer)
        with pytest.raises(EncodeError):
            connection.rpc("m", "f", [object()])
        assert not connection.calls
        assert connection.rpc("m", "f", [1], WAIT) == [1]
        connection.close()


def test_a_text_is_no_list_of_arguments() -> None:
    with FakePeer(echo) as peer:
        connection = dial(peer)
        for text in ("ab", b"ab", {1: 2}):
            for call in (connection.rpc, connection.erpc, connection.cast):
                with pytest.raises(UsageError, match="m:f: expected a list of arguments, got"):
                    call("m", "f", text)  # type: ignore[arg-type]
        assert connection.rpc("m", "f", (1, 2), WAIT) == [1, 2]
        connection.close()


def test_refusals() -> None:
    with FakePeer(silent, cookie="other") as peer, pytest.raises(HandshakeRefused, match="cookies differ") as refused:
        dial(peer)
    assert refused.value.reason == "cookie"
    with FakePeer(silent, status="nok") as peer, pytest.raises(HandshakeRefused) as refused:
        dial(peer, timeout=0.05)
    assert refused.value.reason == "nok"


@pytest.mark.parametrize("after", ["ok", "alive"])
def test_a_node_that_dials_us_itself_is_asked_again(after: str) -> None:
    """And once more if it says that its attempt has come through, which nobody here has seen."""
    with FakePeer(echo, status="nok,nok," + after) as peer:
        connection = dial(peer, timeout=WAIT)
        assert connection.rpc("m", "f", [1], WAIT) == [1]
        connection.close()


def test_an_old_connection_under_our_name_is_replaced() -> None:
    with FakePeer(echo, status="alive") as peer:
        connection = dial(peer)
        assert connection.rpc("m", "f", [1], WAIT) == [1]
        connection.close()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(NotSent, match="no answer in time"):
            connect("a@a", host="127.0.0.1", port=port, cookie="c", timeout=0.05)
        with pytest.raises(NotSent, match="epmd"):
            connect("a@a", host="127.0.0.1", epmd_port=port, cookie="c", timeout=0.05)
    with nobody_listens() as port, pytest.raises(NotSent, match="refused"):
        connect("a@a", host="127.0.0.1", port=port, cookie="c")
    with pytest.raises(UsageError, match="name@host"):
        connect("a", host="127.0.0.1", cookie="c")


@pytest.mark.parametrize("sent", [3 << 20, 1 << 17])
def test_the_limit_of_a_packet_is_ones_own(sent: int) -> None:
    """A packet that comes in many reads, and one that may come in one."""

    def answer(link: FakeLink) -> None:
        echo_one(link)
        call = link.call()
        assert call is not None
        link.reply(call[0], call[1], b"x" * sent)
        silent(link)

    with FakePeer(answer) as peer:
        connection = dial(peer, max_packet=1 << 16)
        assert connection.rpc("m", "f", [1], WAIT) == [1]
        with pytest.raises(ConnectionLost, match=r"a packet of \d+ bytes, limit 65536: see max_packet"):
            connection.rpc("m", "f", timeout=WAIT)
    with FakePeer(answer) as peer:
        connection = dial(peer, max_packet=sent + 100)
        assert connection.rpc("m", "f", [1], WAIT) == [1]
        assert connection.rpc("m", "f", timeout=WAIT) == b"x" * sent
        connection.close()


@pytest.mark.parametrize("limit", [0, 65535, 1 << 32, 1e6, True])
def test_a_limit_of_packets_that_cannot_be_meant(limit: Any) -> None:
    with pytest.raises(UsageError, match="expected max_packet from 65536 to 4294967295"):
        connect("a@a", host="127.0.0.1", cookie="c", max_packet=limit)
