"""Log-linear histogram with at most 1 % relative error, merged by addition.

A value v >= 1 (integer, here nanoseconds) falls into octave ``e = bit_length(v) - 1`` which is split into 64 equal
parts; a bucket's midpoint is then within 1/128 (0.8 %) of every value in it. The idea is HdrHistogram's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS


def bucket_of(value: int) -> int:
    """Index of the bucket that holds ``value`` (values below 1 count as 0)."""
    if value < _SUB:
        return max(value, 0)
    shift = value.bit_length() - 1 - _SUB_BITS
    return ((shift + 1) << _SUB_BITS) + (value >> shift) - _SUB


def bounds_of(bucket: int) -> tuple[int, int]:
    """Lowest value of the bucket and the lowest value of the next one."""
    if bucket < _SUB:
        return bucket, bucket + 1
    shift = (bucket >> _SUB_BITS) - 1
    low = (_SUB + (bucket & (_SUB - 1))) << shift
    return low, low + (1 << shift)


class LogLinear:
    """Counts per bucket, sparse. ``record`` is the hot path; everything else is for readers."""

    __slots__ = ("count", "counts", "maximum", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.maximum = 0

    def record(self, value: int) -> None:
        """Add one value (ns); negative values count as 0."""
        if value < 0:
            value = 0
        if value < _SUB:
            bucket = value
        else:
            shift = value.bit_length() - 1 - _SUB_BITS
            bucket = ((shift + 1) << _SUB_BITS) + (value >> shift) - _SUB
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        if value > self.maximum:
            self.maximum = value

    def merge(self, other: LogLinear) -> None:
        for bucket, n in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + n
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def quantile(self, q: float) -> float:
        """The value (ns) below which the share ``q`` in 0..1 of all values lies; 0.0 when empty."""
        if not self.count:
            return 0.0
        rank = q * self.count
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                low, high = bounds_of(bucket)
                return float(min((low + high - 1) / 2, self.maximum))
        return float(self.maximum)

    def cumulative(self, bounds: Iterable[int]) -> list[int]:
        """How many values are <= each of the ascending bounds (ns), a bucket counted by its midpoint."""
        edges = list(bounds)
        below = [0] * (len(edges) + 1)
        array: npt.NDArray[np.int64] = np.asarray(edges, dtype=np.int64)
        for bucket, n in self.counts.items():
            low, high = bounds_of(bucket)
            below[int(np.searchsorted(array, (low + high - 1) / 2))] += n
        return [int(x) for x in np.cumsum(below[:-1])]

    def to_json(self) -> dict[str, object]:
        return {
            "counts": {str(k): v for k, v in self.counts.items()},
            "total": self.total,
            "max": self.maximum,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> LogLinear:
        """Inverse of ``to_json``. Raises KeyError, TypeError or ValueError for anything else."""
        made = cls()
        counts = data["counts"]
        if not isinstance(counts, Mapping):
            raise TypeError("counts is not a mapping")
        made.counts = {int(k): int(v) for k, v in counts.items()}
        made.count = sum(made.counts.values())
        made.total = int(str(data["total"]))
        made.maximum = int(str(data["max"]))
        return made
