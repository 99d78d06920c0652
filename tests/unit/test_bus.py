"""The event bus: late waiters see what has been, closing lets everyone go."""

from __future__ import annotations

import threading

from harness.bus import Bus


def test_a_waiter_sees_an_event_that_was_published_before() -> None:
    bus = Bus()
    bus.publish("cut")
    assert bus.wait_for(lambda event: event == "cut", timeout=0) == "cut"


def test_a_waiter_is_woken_by_a_later_event() -> None:
    bus = Bus()
    found: list[object] = []
    waiter = threading.Thread(target=lambda: found.append(bus.wait_for(lambda e: e == "healed", timeout=60)))
    waiter.start()
    bus.publish("cut")
    bus.publish("healed")
    waiter.join(60)
    assert found == ["healed"]


def test_nothing_by_the_deadline_is_none() -> None:
    assert Bus().wait_for(lambda _: True, timeout=0.01) is None


def test_closing_lets_a_waiter_without_deadline_go() -> None:
    bus = Bus()
    found: list[object] = []
    waiter = threading.Thread(target=lambda: found.append(bus.wait_for(lambda _: True)))
    waiter.start()
    bus.close()
    waiter.join(60)
    assert found == [None]


def test_listeners_hear_everything_published_after_they_subscribed() -> None:
    bus, heard = Bus(), []
    bus.publish(1)
    bus.subscribe(heard.append)
    bus.publish(2)
    assert heard == [2]
