"""Bytes offered beside bytes being sent, ticks from a thread of their own, and who reads when callers come and go."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import FakeLink, FakePeer

from harness.dist import THREADS, Connection, connect, core
from harness.dist.calls import Envelope
from harness.dist.protocol.operations import Send
from harness.dist.sockets import SocketStream
from harness.errors import CallTimeout, NotSent
from harness.etf import Atom

WAIT = 60.0


def until(condition: Callable[[], object]) -> None:
    waited = threading.Event()
    for _ in range(int(WAIT * 200)):
        if condition():
            return
        waited.wait(0.005)
    raise AssertionError("did not come about")


@pytest.fixture
def pair() -> Iterator[tuple[SocketStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    stream = SocketStream(ours)
    theirs.settimeout(WAIT)
    yield stream, theirs
    stream.close()
    theirs.close()


def received(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += sock.recv(1 << 20)
    return bytes(data)


def test_what_the_kernel_does_not_take_of_an_offer_goes_first(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, theirs = pair
    filled = b""
    while stream.offer(b"0123456789" * 1000):  # until the one before was not taken whole
        filled += b"0123456789" * 1000
    sending = threading.Thread(target=stream.sendall, args=(b"end",))
    sending.start()
    assert received(theirs, len(filled) + 3) == filled + b"end"
    sending.join(WAIT)
    assert not sending.is_alive()


def test_nothing_is_offered_into_a_frame_half_sent(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, theirs = pair
    frame = b"f" * (8 << 20)
    sending = threading.Thread(target=stream.sendall, args=(frame,))
    sending.start()
    until(lambda: theirs.recv(1, socket.MSG_PEEK))
    assert not stream.offer(b"tick")
    assert received(theirs, len(frame)) == frame
    sending.join(WAIT)
    assert stream.offer(b"tick")
    assert received(theirs, 4) == b"tick"


def test_arrived_sees_data_and_the_end(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, theirs = pair
    assert not stream.arrived()
    theirs.sendall(b"x")
    assert stream.arrived()
    assert stream.recv(9) == b"x"
    assert not stream.arrived()
    theirs.close()
    assert stream.arrived()
    assert stream.recv(9) == b""


def test_a_limited_read_may_be_repeated(pair: tuple[SocketStream, socket.socket]) -> None:
    stream, theirs = pair
    stream.settimeout(0.001)
    with pytest.raises(TimeoutError):
        stream.recv(9)
    theirs.sendall(b"x")
    stream.settimeout(None)
    assert stream.recv(9) == b"x"


def test_the_ticker_serves_many_and_begins_anew() -> None:
    counts = [0, 0]
    enough = threading.Event()

    def tick(index: int, limit: int) -> bool:
        counts[index] += 1
        if counts[index] == limit:
            enough.set()
        return counts[index] < limit

    ticker = type(THREADS.ticker)(
        lambda run: threading.Thread(target=run, daemon=True).start(), threading.Lock  # type: ignore[arg-type]
    )  # fmt: skip
    ticker.add(0.001, lambda: tick(0, 3))
    ticker.add(3600.0, lambda: tick(1, 1))  # due in an hour: it keeps nobody waiting
    assert enough.wait(WAIT)
    until(lambda: counts == [3, 0])
    enough.clear()
    counts[0] = 0
    ticker.add(0.001, lambda: tick(0, 2))
    assert enough.wait(WAIT)
    assert counts[1] == 0


def dial(peer: FakePeer, **changes: Any) -> Connection:
    return connect(peer.name, **{"host": "127.0.0.1", "port": peer.port, "cookie": "c", **changes})


class Interrupted(Exception):
    pass


def test_a_signal_takes_a_caller_out_and_leaves_the_connection() -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    waiting = (
        threading.Event()
    )  # as when it reads for itself, its frame is out: in the middle of one, the connection would have to end

    def serve(link: FakeLink) -> None:
        for number in range(4):
            call = link.call()
            assert call is not None
            if number == 2:
                until(lambda: waiting.is_set() or led != connection._pump.led)  # type: ignore[attr-defined]
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            else:
                link.reply(call[0], call[1], call[4])
        while link.packet() is not None:
            pass

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with FakePeer(serve) as peer:
            connection = dial(peer)
            for number in range(2):
                assert connection.rpc("m", "f", [number], WAIT) == [number]
            wait = connection._wait
            connection._wait = lambda call, timeout: [waiting.set(), wait(call, timeout)][1]  # type: ignore[func-returns-value]
            led = connection._pump.led  # type: ignore[attr-defined]
            with pytest.raises(Interrupted):
                connection.rpc("m", "f", [2], None)
            assert connection.rpc("m", "f", [3], WAIT) == [3]
            assert not connection.calls
            connection.close()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_comes_unasked_is_read_whoever_calls() -> None:
    """Before any call, while a caller reads for itself, and after it has left."""
    got: list[Any] = []
    me = Envelope("x@x", 1).pid

    def talk(link: FakeLink) -> None:
        link.send((2, Atom(""), me), 0)
        for number in range(1, 5):
            call = link.call()
            assert call is not None
            link.send((2, Atom(""), me), number)
            link.reply(call[0], call[1], Atom("ok"))
            link.send((2, Atom(""), me), -number)
        while link.packet() is not None:
            pass

    with FakePeer(talk) as peer:
        connection = dial(peer)
        connection._on_message = lambda control, message: got.append((type(control), message))
        for _ in range(4):
            assert connection.rpc("m", "f", timeout=WAIT) == "ok"
        until(lambda: len(got) >= 8 and got[-1] == (Send, -4))
        connection.close()


def test_a_caller_that_reads_for_others_hands_over_when_it_leaves() -> None:
    def talk(link: FakeLink) -> None:
        warm = link.call()
        assert warm is not None
        link.reply(warm[0], warm[1], Atom("ok"))
        calls = [link.call() for _ in range(3)]
        for call in calls:
            assert call is not None
            link.reply(call[0], call[1], call[4])
        silent = link.call()
        assert silent is not None
        while link.packet() is not None:
            pass

    with FakePeer(talk) as peer:
        connection = dial(peer)
        assert connection.rpc("m", "f", timeout=WAIT) == "ok"
        answers: list[Any] = []
        callers = [
            threading.Thread(target=lambda n=n: answers.append(connection.rpc("m", "f", [n], None))) for n in range(3)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(WAIT)
        assert sorted(answers) == [[0], [1], [2]]
        with pytest.raises(CallTimeout):  # read for itself at first, then the reader's guest for the last second
            connection.rpc("m", "f", timeout=1.1)
        connection.close()


def test_a_caller_alone_needs_neither_queue_nor_pump() -> None:
    """What comes with the answer, or cuts it in two, changes nothing; nor does the absence of a compiled way."""

    def serve(link: FakeLink) -> None:
        while (call := link.call()) is not None:
            kind = call[4][0]
            if kind == 1:
                link.tick()
            if kind == 2:
                link.send((2, Atom(""), Envelope("x@x", 1).pid), 2)
            link.reply(call[0], call[1], b"x" * 100_000 if kind == 3 else call[4])
            if kind == 4:
                link.tick()

    got: list[Any] = []
    queued: list[int] = []
    with FakePeer(serve) as peer:
        connection = dial(peer)
        connection._on_message = lambda _control, message: got.append(message)
        assert connection.rpc("m", "f", [0], WAIT) == [0]
        write = connection._write
        connection._write = lambda: [queued.append(1), write()][1]  # type: ignore[func-returns-value]
        for kind in (0, 1, 2, 4, 0):
            assert connection.rpc("m", "f", [kind], WAIT) == [kind]
        assert connection.rpc("m", "f", [3], WAIT) == b"x" * 100_000

        def short() -> bool:
            queued.clear()
            assert connection.rpc("m", "f", [0], WAIT) == [0]
            return not queued

        if core.COMPILED:  # not at once: the reader may be in the way
            until(short)
        assert got == [2]
        assert not connection.calls
        connection.close()
        with pytest.raises(NotSent):
            connection.rpc("m", "f", [0])


def test_what_comes_unasked_gives_a_caller_no_more_time() -> None:
    def serve(link: FakeLink) -> None:
        call = link.call()
        assert call is not None
        link.reply(call[0], call[1], 0)
        link.call()
        for _ in range(int(WAIT * 100)):
            link.tick()
            if over.wait(0.01):
                break

    over = threading.Event()
    with FakePeer(serve) as peer:
        connection = dial(peer)
        assert connection.rpc("m", "f") == 0
        with pytest.raises(CallTimeout):
            connection.rpc("m", "f", timeout=1.1)
        over.set()
        connection.close()
