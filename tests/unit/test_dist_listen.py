"""A door lets only so many in at once, and whoever has to wait comes in later."""

from __future__ import annotations

import threading

import pytest
from memory import MemoryNetwork

from harness.dist import THREADS, Node, Runtime
from harness.dist.listen import Door
from harness.dist.runtime import Stream
from harness.load.greenlets import GREENLETS

WAIT = 60.0
AT_ONCE = 3


class Guests:
    """Who is let in, each until he is asked to leave."""

    def __init__(self) -> None:
        self.inside: list[Stream] = []
        self.came = self.most = 0
        self.changed = threading.Condition()

    def welcome(self, stream: Stream) -> None:
        with self.changed:
            self.inside.append(stream)
            self.came += 1
            self.most = max(self.most, len(self.inside))
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: stream not in self.inside, WAIT)

    def wait(self, came: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.came >= came, WAIT)


def test_no_more_than_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.dist.listen._AT_ONCE", AT_ONCE)
    network, guests = MemoryNetwork(), Guests()
    listener = network.listen("x", 0)
    door = Door(listener, network, guests.welcome)
    callers = [network.dial("x", listener.port, WAIT) for _ in range(3 * AT_ONCE)]
    guests.wait(AT_ONCE)
    for left in range(len(callers)):
        guests.wait(min(left + AT_ONCE, len(callers)))
        with guests.changed:
            guests.inside.pop(0)
            guests.changed.notify_all()
    assert guests.most == AT_ONCE
    assert guests.came == len(callers)
    door.close()


@pytest.mark.parametrize("runtime", [THREADS, GREENLETS])
def test_a_node_waits_for_those_who_say_nothing(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.dist.listen._AT_ONCE", AT_ONCE)
    connected = runtime.parker()
    with Node("b@here", "c", runtime=runtime) as b, Node("a@here", "c", runtime=runtime) as a:
        port = b.listen(register=False)
        silent = [runtime.dial("127.0.0.1", port, WAIT) for _ in range(AT_ONCE)]
        (door,) = b._doors
        assert isinstance(door, Door)
        while len(door._inside) < AT_ONCE:
            connected.park(0.01)

        def connect() -> None:
            a.connect("b@here", host="127.0.0.1", port=port, timeout=WAIT)
            connected.unpark()

        runtime.spawn(connect, "test-connect")
        silent.pop().close()
        assert connected.park(WAIT)
        for stream in silent:
            stream.close()
