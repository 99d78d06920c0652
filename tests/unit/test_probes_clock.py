"""The offset of a node's clock, narrowed by exchanges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.probes.clock import Offset

trips = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1)


@given(trips)
def test_one_clock_is_left_alone(found: list[tuple[int, int, int]]) -> None:
    clock = Offset()
    for sent, there, back in found:
        clock.exchanged(sent, sent + there, sent + there + back)
    assert (clock.offset_ns, clock.error_ns, clock.ours(123)) == (0, 0, 123)


@given(trips, st.integers(10**8, 10**15) | st.integers(-(10**15), -(10**8)))
def test_another_clock_is_known_within_the_error(found: list[tuple[int, int, int]], offset: int) -> None:
    clock = Offset()
    for sent, there, back in found:
        clock.exchanged(sent, sent + there + offset, sent + there + back)
    assert abs(clock.offset_ns - offset) <= clock.error_ns


def test_a_shorter_round_trip_tells_more() -> None:
    clock = Offset()
    clock.exchanged(0, 10**12 + 500, 1000)
    before = clock.error_ns
    clock.exchanged(2000, 10**12 + 2050, 2100)
    assert clock.error_ns < before


def test_a_clock_that_was_set_anew_is_learnt_anew() -> None:
    clock = Offset()
    clock.exchanged(0, 10**12, 100)
    clock.exchanged(200, 5 * 10**12, 300)
    assert abs(clock.offset_ns - (5 * 10**12 - 250)) <= 50
