"""Due times and the queue of what is due."""

from __future__ import annotations

import random

from harness.load.arrivals import Lane, Schedule


def times(schedule: Schedule, until: int) -> list[int]:
    made = []
    while (due := schedule.next()) <= until:
        made.append(due)
    return made


def test_same_chance_same_times_and_the_rate_is_kept() -> None:
    made = [times(Schedule(100.0, 5, random.Random(1).random), 100 * 10**9) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0] == sorted(made[0])
    assert 9_500 < len(made[0]) < 10_500  # fixed seed: always the same number


def test_half_of_the_rate_while_it_rises() -> None:
    made = times(Schedule(100.0, 0, random.Random(2).random, ramp=100.0), 200 * 10**9)
    rising = [due for due in made if due < 100 * 10**9]
    first = [due for due in rising if due < 50 * 10**9]
    assert 4_800 < len(rising) < 5_200
    assert 1_150 < len(first) < 1_350  # a quarter of them: the integral of a line
    assert 9_700 < len(made) - len(rising) < 10_300


def test_lane_queues_what_is_due_and_drops_what_is_old() -> None:
    uniform = iter([0.5] * 100)  # gaps of ln 2 / rate
    lane = Lane(Schedule(1.0, 0, lambda: next(uniform)), pick=iter(range(100)).__next__, limit=10**9)
    gap = lane.next_due
    assert abs(gap - 693_147_180) < 2
    assert lane.become_due(gap - 1) == []
    assert [a.operation for a in lane.become_due(2 * gap + 2)] == [0, 1]
    assert lane.waiting[0].intended == gap
    assert lane.expire(gap + 10**9) == []
    assert [a.operation for a in lane.expire(gap + 10**9 + 1)] == [0]
    assert [a.operation for a in lane.waiting] == [1]
