"""Properties of the merge, the phases and the loss checker, against plain Python."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from histories import HistoryBuilder, ns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers import PHASES, Facts, check
from harness.checkers.loss import present
from harness.histogram import LogLinear
from harness.history import FAIL, INVOKE, OK, UNKNOWN, Operation
from harness.segments import Segment, merge_operations, pack_record

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

IDS = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60)


@given(wanted=IDS, held=IDS)
def test_present_is_set_membership(wanted: list[int], held: list[int]) -> None:
    found = present(np.array(wanted, dtype=np.uint64), np.array(sorted(held), dtype=np.uint64))
    assert found.tolist() == [i in set(held) for i in wanted]


@QUICK
@given(
    workers=st.lists(
        st.lists(
            st.tuples(st.sampled_from([OK, FAIL, UNKNOWN, None]), st.sampled_from(["", "timeout", "x"])), max_size=20
        ),
        max_size=3,
    ),
    order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_merge_joins_like_a_dictionary(workers: list[list[tuple[int | None, str]]], order: object) -> None:
    expected: dict[int, tuple[int, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, ended in enumerate(workers):
            segment = Segment(Path(folder) / f"ops-w{number}.seg")
            op = segment.words.number(Operation(f"op {number}", "rpc"))
            target = segment.words.number("n1")
            rows = [(i * 10 + number, outcome, reason) for i, (outcome, reason) in enumerate(ended)]
            for ident, _, _ in rows:
                segment.append(pack_record(INVOKE, op, target, 0, 1, ident, -1, 0, ident, -1))
            order.shuffle(rows)  # type: ignore[attr-defined]
            for ident, outcome, reason in rows:
                expected[ident] = (outcome or UNKNOWN, reason if outcome else "")
                if outcome:
                    why = segment.words.number(reason)
                    segment.append(pack_record(outcome, op, target, why, 1, ident, -1, 0, ident, -1))
            segment.close()
        ops = merge_operations(Path(folder))
        got = {
            int(i): (int(outcome), ops.reasons[reason])
            for i, outcome, reason in zip(ops.id, ops.outcome, ops.reason, strict=True)
        }
    assert got == expected
    assert ops.id.tolist() == sorted(expected)


FAULT = st.tuples(st.floats(0, 50), st.floats(0.1, 20), st.floats(0.2, 20), st.booleans(), st.booleans(), st.booleans())


@QUICK
@given(faults=st.lists(FAULT, max_size=4))
def test_phases_cover_the_run_without_gap_or_overlap(
    faults: list[tuple[float, float, float, bool, bool, bool]],
) -> None:
    built = HistoryBuilder()
    for index, (at, lasts, notice, detected, healed, whole) in enumerate(faults):
        heal = at + lasts
        if healed:
            seen = at + min(notice, lasts * 0.9) if detected else None
            built.cut(at, heal, seen, heal + 1 if whole else None, step=f"s{index}")
        else:
            built.fault(f"s{index}", "partition", ("n1",), injecting=at)
    with tempfile.TemporaryDirectory() as folder:
        timeline = Facts(built.build(Path(folder))).timeline
    spans = timeline.intervals
    assert spans[0][1] == 0
    assert all(a[2] == b[1] and a[0] != b[0] for a, b in pairwise(spans))
    assert all(start < end for _, start, end in spans)
    times = np.array([ns(t / 4) for t in range(-8, 300)])
    named = [PHASES[i] for i in timeline.phase_at(times)]
    assert named == [next(n for n, start, end in spans if start <= t < end) for t in times.tolist()]
    first = min((at for at, *_ in faults), default=1e9)
    assert all(name == "before" for name, t in zip(named, times.tolist(), strict=True) if t < ns(first))


@QUICK
@given(
    lost=st.dictionaries(st.integers(1, 30), st.sets(st.sampled_from(["n1", "n2", "n3"]), min_size=1), max_size=12),
    discarded=st.sets(st.integers(1, 30), max_size=5),
)
def test_acked_lost_counts_what_sets_count(lost: dict[int, set[str]], discarded: set[int]) -> None:
    built = HistoryBuilder()
    built.steady(0, 30, 1)
    for ident, nodes in lost.items():
        built.lose(ident, *nodes)
    built.discarded["kv"] = sorted(discarded)
    with tempfile.TemporaryDirectory() as folder:
        verdict = check(built.build(Path(folder)))
    (finding,) = [f for f in verdict.of("acked_lost") if f.subject == "kv, transaction"]
    assert finding.value == len(lost)
    assert finding.outcome == ("fail" if lost else "pass")
    everywhere = sum(len(nodes) == 3 for nodes in lost.values())
    assert (f"{everywhere} from every copy" in finding.summary) == bool(everywhere)
    differ = any(len(nodes) < 3 for nodes in lost.values())
    assert (verdict.of("replica_divergence")[0].outcome == "fail") == differ


@given(values=st.lists(st.integers(0, 10**12), min_size=1, max_size=200), q=st.floats(0.01, 1))
def test_quantiles_of_the_histogram_are_within_one_percent(values: list[int], q: float) -> None:
    histogram = LogLinear()
    for value in values:
        histogram.record(value)
    ordered = sorted(values)
    rank = next(i for i in range(len(values)) if (i + 1) >= q * len(values))
    assert abs(histogram.quantile(q) - ordered[rank]) <= ordered[rank] * 0.01 + 1
