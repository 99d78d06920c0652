"""The log-linear histogram: error bound, merging, folding into coarser buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.histogram import LogLinear, bounds_of, bucket_of

values = st.integers(min_value=0, max_value=10**15)


@given(values)
def test_a_value_lies_within_its_bucket(value: int) -> None:
    low, high = bounds_of(bucket_of(value))
    assert low <= value < high


@given(values)
def test_the_midpoint_is_within_one_percent(value: int) -> None:
    low, high = bounds_of(bucket_of(value))
    assert abs((low + high - 1) / 2 - value) <= 0.01 * value


def test_record_uses_the_bucket_of_its_value() -> None:
    for value in (0, 1, 63, 64, 65, 127, 128, 1000, 10**9):
        made = LogLinear()
        made.record(value)
        assert made.counts == {bucket_of(value): 1}


@given(st.lists(values), st.lists(values))
def test_merging_is_recording_both(left: list[int], right: list[int]) -> None:
    one, other, both = LogLinear(), LogLinear(), LogLinear()
    for value in left:
        one.record(value)
        both.record(value)
    for value in right:
        other.record(value)
        both.record(value)
    one.merge(other)
    assert one.to_json() == both.to_json()


@given(st.lists(values, min_size=1))
def test_survives_json(recorded: list[int]) -> None:
    made = LogLinear()
    for value in recorded:
        made.record(value)
    again = LogLinear.from_json(made.to_json())
    assert (again.counts, again.count, again.total, again.maximum) == (
        made.counts, made.count, made.total, made.maximum,
    )  # fmt: skip


@given(st.lists(values, min_size=1))
def test_quantiles_rise_and_end_at_the_maximum(recorded: list[int]) -> None:
    made = LogLinear()
    for value in recorded:
        made.record(value)
    found = [made.quantile(q) for q in (0.0, 0.5, 0.9, 0.99, 1.0)]
    assert found == sorted(found)
    assert found[-1] <= max(recorded)
    assert found[-1] >= 0.99 * max(recorded) - 1


@given(st.lists(values))
def test_cumulative_rises_to_the_count(recorded: list[int]) -> None:
    made = LogLinear()
    for value in recorded:
        made.record(value)
    counts = made.cumulative([10**3, 10**6, 10**9, 10**16])
    assert counts == sorted(counts)
    assert counts[-1] == len(recorded)


def test_an_empty_histogram_has_quantile_zero() -> None:
    assert LogLinear().quantile(0.99) == 0.0
