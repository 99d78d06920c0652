"""How greenlets wait, wake, read and write: the Runtime of Locust workers, on loopback."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from harness.dist.core import Call
from harness.load.greenlets import GREENLETS

WAIT = 60.0
LARGE = b"0123456789" * 2_000_000  # more than the kernel keeps for a connection


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    with gevent.Timeout(2 * WAIT):
        yield


def settle() -> None:
    """Whatever is ready to run has run."""
    for _ in range(10):
        gevent.sleep(0)


def until(condition: Callable[[], object]) -> None:
    while not condition():  # the Timeout of each test ends it
        gevent.sleep(0.001)


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_permit_is_kept_and_is_one() -> None:
    parker = GREENLETS.parker()
    parker.unpark()
    parker.unpark()
    assert parker.park(WAIT)
    assert not parker.park(0.001)


def test_waiters_are_woken_in_order() -> None:
    order: list[int] = []
    parkers = [GREENLETS.parker() for _ in range(3)]
    waiting = [gevent.spawn(lambda n=n, p=p: p.park(WAIT) and order.append(n)) for n, p in enumerate(parkers)]
    settle()
    for parker in parkers:
        parker.unpark()
    gevent.joinall(waiting, raise_error=True)
    assert order == [0, 1, 2]


def test_a_wake_that_comes_after_a_kill_finds_nobody() -> None:
    parker, other = GREENLETS.parker(), GREENLETS.parker()
    killed = gevent.spawn(parker.park, WAIT)
    settle()
    killed.kill(block=False)
    parker.unpark()  # its waiter is still there, and gone when the wake comes
    assert not other.park(0.001)
    assert parker.park(WAIT)  # the permit was not taken


def test_a_lock() -> None:
    lock = GREENLETS.lock()
    assert lock.acquire(False)
    assert not lock.acquire(False)
    lock.release()
    assert lock.acquire(False)


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    listener = GREENLETS.listen("127.0.0.1", 0)
    accepting = gevent.spawn(listener.accept)
    dialled = GREENLETS.dial("127.0.0.1", listener.port, WAIT)
    accepted = accepting.get()
    listener.close()
    yield dialled, accepted
    dialled.close()
    accepted.close()
    settle()


def received(stream: Any, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := stream.recv(1 << 20)):
        data += more
    return bytes(data)


def test_large_data_passes_both_ways_at_once(pair: tuple[Any, Any]) -> None:
    one, other = pair
    jobs = [gevent.spawn(one.sendall, LARGE), gevent.spawn(other.sendall, LARGE[::-1])]
    readers = [gevent.spawn(received, stream, len(LARGE)) for stream in pair]
    gevent.joinall([*jobs, *readers], raise_error=True)
    assert [reader.value == data for reader, data in zip(readers, (LARGE[::-1], LARGE), strict=True)] == [True, True]


def test_a_limited_read_may_be_repeated(pair: tuple[Any, Any]) -> None:
    one, other = pair
    one.settimeout(0.001)
    assert not one.arrived()
    with pytest.raises(TimeoutError):
        one.recv(9)
    other.sendall(b"x")
    one.settimeout(WAIT)
    assert one.recv(9) == b"x"
    other.close()
    assert one.recv(9) == b""
    assert one.arrived()  # the end


def test_an_offer_is_taken_whole_or_not_at_all(pair: tuple[Any, Any]) -> None:
    """It never lands in a frame half sent, and what the kernel leaves of one goes before all that follows."""
    one, other = pair
    sending = gevent.spawn(one.sendall, LARGE)
    settle()
    assert not sending.ready()
    assert not one.offer(b"tick")
    assert received(other, len(LARGE)) == LARGE
    sending.get()
    filled = 0
    while one.offer(LARGE[:100_000]):
        filled += 1
    sending = gevent.spawn(one.sendall, b"end")
    assert received(other, filled * 100_000 + 3) == LARGE[:100_000] * filled + b"end"
    sending.get()


@pytest.mark.parametrize("act", [lambda stream: stream.recv(1), lambda stream: stream.sendall(LARGE)])
def test_close_wakes_whoever_waits(pair: tuple[Any, Any], act: Callable[[Any], object]) -> None:
    waiting = gevent.spawn(act, pair[0])
    settle()
    assert not waiting.ready()
    pair[0].close()
    pair[0].close()
    with pytest.raises(OSError):  # noqa: PT011  whatever the closed stream says
        waiting.get()


def test_closing_a_listener_wakes_who_accepts() -> None:
    listener = GREENLETS.listen("127.0.0.1", 0)
    accepting = gevent.spawn(listener.accept)
    settle()
    listener.close()
    with pytest.raises(OSError):  # noqa: PT011
        accepting.get()


# --- the pump ---------------------------------------------------------------------------------------------------------


class Aside:
    """A Stream that the hub cannot read, as one with TLS inside."""

    def __init__(self, stream: Any) -> None:
        for name in ("recv", "sendall", "settimeout", "offer", "arrived", "close"):
            setattr(self, name, getattr(stream, name))


class Lines:
    """A Traffic: each byte received answers the call of that number; 255 cannot be read."""

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self.answered: list[Call] = []
        self.closed = False
        self.queue: deque[bytes] = deque()
        self.sent: list[bytes] = []
        self.ends: list[BaseException | None] = []
        self.over = Event()
        self.wake: Callable[[Call], None]

    def received(self, data: bytes) -> None:
        for number in data:
            if number == 255:
                raise ValueError("unreadable")
            if number in self.calls:
                call = self.calls.pop(number)
                call.done = True
                self.answered.append(call)

    def flush(self) -> bool:
        if self.queue:
            self.sent.append(b"".join(self.queue))
            self.queue.clear()
        return not self.closed

    def ended(self, error: BaseException | None) -> None:
        while self.answered:
            self.wake(self.answered.pop())
        self.ends.append(error)
        self.over.set()


class Pumped:
    def __init__(self, stream: Any, peer: Any, rest: bytes = b"") -> None:
        self.traffic, self.peer = Lines(), peer
        self.pump = GREENLETS.pump(stream, self.traffic, "peer")
        self.traffic.wake = self.pump.wake
        self.pump.start(rest)
        settle()

    def call(self, number: int) -> Call:
        frame = bytes((number,))
        call = self.traffic.calls[number] = Call(frame)
        self.traffic.queue.append(frame)
        self.pump.write()
        return call

    def wait(self, number: int, timeout: float | None = WAIT) -> bool:
        return self.pump.wait(self.call(number), timeout)


@pytest.fixture(params=[lambda stream: stream, Aside], ids=["hub", "greenlet"])
def pumped(request: pytest.FixtureRequest, pair: tuple[Any, Any]) -> Iterator[Pumped]:
    made = Pumped(request.param(pair[0]), pair[1])
    yield made
    made.traffic.closed = True
    made.pump.stop()
    settle()
    assert made.pump._writer.ready()


def test_what_several_queue_goes_in_one_send(pumped: Pumped) -> None:
    waiting = [gevent.spawn(pumped.wait, number) for number in range(5)]
    settle()
    assert pumped.traffic.sent == [b"\0\1\2\3\4"]
    pumped.peer.sendall(b"\0\1\2\3\4")
    assert [waiter.get() for waiter in waiting] == [True] * 5


def test_what_woken_callers_queue_goes_in_one_send(pumped: Pumped) -> None:
    """Each queues its next call as soon as it has its answer; the send waits until the last of them waits again."""

    def caller(number: int) -> None:
        assert pumped.wait(number)
        assert pumped.wait(number + 10)

    callers = [gevent.spawn(caller, number) for number in range(5)]
    settle()
    pumped.peer.sendall(b"\0\1\2\3\4")
    until(lambda: len(pumped.traffic.sent) > 1)
    assert pumped.traffic.sent == [b"\0\1\2\3\4", b"\x0a\x0b\x0c\x0d\x0e"]
    pumped.peer.sendall(b"\x0e\x0d\x0c\x0b\x0a")
    gevent.joinall(callers, raise_error=True)


def test_those_who_read_write_aside(pumped: Pumped) -> None:
    pumped.traffic.queue.append(b"tick")
    pumped.pump.write_aside()
    assert pumped.traffic.sent == []
    settle()
    assert pumped.traffic.sent == [b"tick"]


def test_a_call_whose_time_is_over_is_not_woken_later(pumped: Pumped) -> None:
    assert not pumped.wait(1, 0.001)
    late = pumped.traffic.calls[1]
    sleeping = gevent.spawn(pumped.wait, 2)
    settle()
    pumped.peer.sendall(b"\1")
    until(lambda: late.done)
    settle()
    assert not sleeping.ready()
    assert pumped.pump.wait(late, None)  # done already: returns at once
    pumped.peer.sendall(b"\2")
    assert sleeping.get()


def test_a_wake_after_a_kill_finds_nobody(pumped: Pumped) -> None:
    killed, other = gevent.spawn(pumped.wait, 1), gevent.spawn(pumped.wait, 2)
    settle()
    call = pumped.traffic.calls[1]
    killed.kill(block=False)
    call.done = True
    pumped.pump.wake(call)
    settle()
    assert killed.ready()
    assert not other.ready()
    pumped.peer.sendall(b"\2")
    assert other.get()


def test_what_is_answered_before_the_unreadable_is_woken(pumped: Pumped) -> None:
    waiting = gevent.spawn(pumped.wait, 1, None)
    settle()
    pumped.peer.sendall(b"\1\xff")
    assert waiting.get()
    assert [type(end) for end in pumped.traffic.ends] == [ValueError]


def test_wakes_reach_all_even_if_one_caller_raises(pumped: Pumped) -> None:
    def fail() -> None:
        pumped.wait(1)
        raise RuntimeError("of the caller's own")

    failing, other = gevent.spawn(fail), gevent.spawn(pumped.wait, 2)
    settle()
    pumped.peer.sendall(b"\1\2")
    assert other.get()
    with pytest.raises(RuntimeError):
        failing.get()


def test_the_end_and_what_cannot_be_read_are_told_once(pumped: Pumped) -> None:
    pumped.peer.close()
    pumped.traffic.over.wait()
    pumped.traffic.closed = True
    pumped.pump.stop()
    settle()
    assert pumped.traffic.ends == [None]


def test_what_cannot_be_read_is_told(pumped: Pumped) -> None:
    pumped.peer.sendall(b"\xff")
    pumped.traffic.over.wait()
    assert str(pumped.traffic.ends[0]) == "unreadable"


@pytest.mark.parametrize("stream", [lambda stream: stream, Aside], ids=["hub", "greenlet"])
def test_what_was_read_before_comes_first(pair: tuple[Any, Any], stream: Callable[[Any], Any]) -> None:
    pumped = Pumped(stream(pair[0]), pair[1], rest=b"\xff")
    pumped.traffic.over.wait()
    assert str(pumped.traffic.ends[0]) == "unreadable"


def test_another_thread_has_something_done_in_the_hub(pumped: Pumped) -> None:
    done: list[int] = []
    thread = threading.Thread(target=lambda: pumped.pump.soon(lambda: done.append(threading.get_ident())))
    thread.start()
    until(lambda: done)
    assert done == [threading.get_ident()]
    thread.join()
