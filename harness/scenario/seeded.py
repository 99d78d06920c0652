"""A seeded stream of numbers that is pure data: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
Generators, OOPSLA 2014). The same seed and label give the same numbers on every machine and Python release.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class Seeded:
    """``Seeded(42, "timeline.0")``: one stream per label, so that a step added elsewhere shifts nothing here."""

    def __init__(self, seed: int, label: str = "") -> None:
        state = _mix((seed & _MASK) ^ _GOLDEN)
        for byte in label.encode():
            state = _mix((state ^ byte) + _GOLDEN & _MASK)
        self._state = state

    def next(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + _GOLDEN) & _MASK
        return _mix(self._state)

    def ratio(self) -> float:
        """A number in [0, 1) with 53 random bits."""
        return (self.next() >> 11) / (1 << 53)
