"""What a person sees: lines without a terminal, a display with one, and the verdict in words."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from histories import HistoryBuilder, healthy, ns
from plans import three_nodes
from rich.console import Console

from harness.checkers import check
from harness.checkers.words import duration, printable, share
from harness.history import FaultRecord, Mark, Observation
from harness.history_files import load_history
from harness.metrics import names
from harness.metrics.figures import Point
from harness.report import events
from harness.report.current import Reader, quantile
from harness.report.terminal import Live, verdict_text


class Readings:
    """A source of metrics that answers with one prepared reading after the other."""

    def __init__(self, *readings: list[Point]) -> None:
        self._left = list(readings)

    def points(self) -> Iterator[Point]:
        return iter(self._left.pop(0) if len(self._left) > 1 else self._left[0])


def reading(ok: int, refused: int, behind: int = 0) -> list[Point]:
    def buckets(bounds: tuple[float, ...], n: int) -> tuple[float, ...]:
        return (*(float(n if bound >= 0.001 else 0) for bound in bounds), float(n), 0.0)

    return [
        Point(names.OPERATIONS, ("w", "n1", "ok", ""), (float(ok),)),
        Point(names.OPERATIONS, ("w", "n1", "fail", "no_majority"), (float(refused),)),
        Point(names.OPERATION_DURATION, ("w", "n1", "ok"), buckets(names.DURATION_BUCKETS, ok)),
        Point(names.LAG, ("kv", "n1", "n2", "transaction"), buckets(names.LAG_BUCKETS, ok)),
        Point(names.PENDING, ("kv", "n2"), (float(behind),)),
        Point(names.NODE_UP, ("n1",), (1.0,)),
        Point(names.NODE_UP, ("n2",), (0.0,)),
        Point(names.IN_FLIGHT, (), (3.0,)),
    ]


def told(
    built: HistoryBuilder, folder: Path, *, terminal: bool = False, quiet: bool = False
) -> tuple[Live, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, highlight=False, color_system=None)
    return Live(built.plan, built.write(folder), quiet=quiet, console=console), out


def story(live: Live, folder: Path) -> None:
    now = time.monotonic_ns()
    live.progress("building")
    live.serving("127.0.0.1", 9647, wanted=9646)
    live.on_event(Mark(now, "phase", {"phase": "load"}))
    live.on_event(FaultRecord(now, "s1", "partition", "injecting", ("n1", "n2", "n3")))
    live.on_event(Observation(now, "n1", "nodedown", "n2", {"reason": "net_tick\x1b[31m"}))
    live.on_event(FaultRecord(now, "s1", "partition", "not_bitten", ("n1",), {"error": "no rule"}))
    live.on_event(Mark(now, "worker_lost", {"worker": "w2"}))
    live.on_event(Mark(now, "worker_silent", {"worker": "w1", "cause": "no heartbeat"}))
    live.on_event(Mark(now, "load_stopped", {"by": "web page"}))
    live.on_event("something else")


def test_without_a_terminal_events_are_plain_lines(tmp_path: Path) -> None:
    live, out = told(healthy(), tmp_path)
    with live:
        story(live, tmp_path)
    text = out.getvalue()
    assert "\x1b" not in text
    for said in (
        "metrics at http://127.0.0.1:9647/metrics (port 9646 was taken)",
        "partition n1 | n2 n3 begins",
        "n1 lost n2 (net_tick\N{REPLACEMENT CHARACTER}[31m)",
        "partition n1 | n2 n3 was NOT seen to bite: no rule",
        "worker lost: worker w2",
        "worker silent: worker w1, cause no heartbeat",
        "load stopped: by web page",
    ):
        assert said in text


RESTARTED = {"winners": ["n2", "n3"], "losers": ["n1"], "discarded": {"kv": {"count": 1200}, "log": {"count": 1}}}


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        (RESTARTED, "n1 restarted with the copies of n2, n3; 1,200 writes of kv and 1 write of log discarded"),
        ({**RESTARTED, "discarded": {"kv": {"count": 0}}},
         "n1 restarted with the copies of n2, n3; no write discarded"),
        ({**RESTARTED, "discarded": {}, "not_listed": [["n1", "kv", "gone"]]},
         "n1 restarted with the copies of n2, n3; of kv on n1 nobody knows how many discarded"),
        ({"winners": [], "losers": [], "nothing_to_do": "every node sees every other"}, "every node sees every other"),
    ],
)  # fmt: skip
def test_a_recovery_says_who_was_restarted_and_what_it_cost(tmp_path: Path, detail: dict[str, Any], said: str) -> None:
    built = healthy()
    built.events.append(FaultRecord(ns(32), "recover-1", "recover", "bit", built.nodes, detail))
    line = events.line(built.events[-1], built.plan)
    assert line == ("plain", f"recover recover-1 n1 n2 n3 is done: {said}")
    history = built.build(tmp_path)
    assert f"recovered      {said} (recover" in verdict_text(check(history), history)


def test_a_step_that_concerned_nobody_yet_leaves_no_gap() -> None:
    record = FaultRecord(ns(60), "recover-1", "recover", "skipped", (), {"reason": "load ended before its time"})
    assert events.line(record, healthy().plan) == ("plain", "recover recover-1 was skipped: load ended before its time")


def test_catching_up_says_since_when() -> None:
    seen = Observation(ns(40), "n1", "backlog_zero", "", {"table": "kv", "peak": 1115, "seconds": 13.5})
    said = "n1 has caught up with kv 13.5 s after it fell behind, by 1,115 probe writes at most"
    assert events.line(seen, healthy().plan) == ("faint", said)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ((), ""),
        (("acked_lost", "replica_divergence"), "as expected: expect_failure names exactly acked_lost, replica_diverg"),
        (("acked_lost", "rpc"), "not what expect_failure names; not found: rpc; not in it: replica_divergence"),
    ],
)
def test_a_failure_that_was_expected_is_told_so(tmp_path: Path, expected: tuple[str, ...], said: str) -> None:
    built = healthy(three_nodes(duration=60.0, expect_failure=expected))
    built.lose(1, "n1")
    history = built.build(tmp_path)
    text = verdict_text(check(history), history)
    assert said in text
    assert ("expect_failure" in text) == bool(expected)


def test_with_a_rate_it_is_told_what_times_count_from(tmp_path: Path) -> None:
    load = three_nodes().load.model_copy(update={"rate": 40.0}).model_dump()
    for number, plan in enumerate((three_nodes(duration=60.0), three_nodes(duration=60.0, load=load))):
        history = healthy(plan).build(tmp_path / str(number))
        assert ("Times count from when an operation was due:" in verdict_text(check(history), history)) == bool(number)


def test_quiet_says_only_the_verdict(tmp_path: Path) -> None:
    built = healthy()
    live, out = told(built, tmp_path / "a", quiet=True)
    with live:
        story(live, tmp_path)
        assert out.getvalue() == ""
        history = built.build(tmp_path / "b")
        live.verdict(check(history), history)
    assert out.getvalue().startswith("PASS  unit (seed 1): no violation found")


def test_the_display_shows_figures_faults_and_nodes(tmp_path: Path) -> None:
    live, out = told(healthy(), tmp_path, terminal=True)
    live.follow(Readings(reading(100, 4, behind=17)))
    live.on_event(Mark(time.monotonic_ns(), "phase", {"phase": "load"}))
    live.on_event(FaultRecord(time.monotonic_ns(), "s1", "partition", "injecting", ("n1",)))
    with live:
        pass
    text = out.getvalue()
    for said in ("of 60 s", "ok/s", "failed/s", "no_majority 4", "backlog n2 17", "n2 down", "partition n1 | n2 n3"):
        assert said in text


def test_figures_are_differences_between_readings() -> None:
    reader = Reader(Readings(reading(100, 0), reading(300, 10)))
    reader.read(10.0)
    current = reader.read(12.0)
    assert current.rates == {"ok": 100.0, "fail": 5.0}
    assert current.outcomes == {"ok": 300, "fail": 10}
    assert current.p50 == pytest.approx(0.00075)
    assert current.nodes == {"n1": True, "n2": False}


def test_quantiles_of_buckets() -> None:
    assert quantile((1.0, 2.0), (0.0, 0.0, 0.0), 0.5) is None
    assert quantile((1.0, 2.0), (10.0, 20.0, 20.0), 0.75) == pytest.approx(1.5)
    assert quantile((1.0, 2.0), (0.0, 0.0, 5.0), 0.5) == 2.0


def test_the_verdict_says_what_was_lost_how_long_blind_and_how_fast_back(tmp_path: Path) -> None:
    built = healthy()
    built.lose(1, "n1")
    history = load_history(built.write(tmp_path))
    text = verdict_text(check(history), history, Path("runs/x"))
    for said in (
        "FAIL  unit (seed 1): proven violations: acked_lost, replica_divergence",
        "lost           1 acknowledged write",
        "blind          4.90 s (partition)",
        "back after     3.00 s (partition)",
        "undetected",
        "✗ acked_lost [kv, transaction]",
        "missing_on n1",
        "runs/x/report.html",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "-"), (0.0, "0 µs"), (12e-6, "12 µs"), (0.0034, "3.4 ms"), (0.25, "250 ms"), (8.02, "8.02 s"),
     (75.0, "75.0 s"), (125.0, "2 m 05 s"), (-20e-6, "-20 µs")],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_shares_are_never_rounded_up_to_all() -> None:
    assert (share(1.0), share(0.999999), share(None)) == ("100 %", "99.99 %", "-")


def test_printable_keeps_letters_and_replaces_control() -> None:
    assert printable("grüße\x1b[2J\n") == "grüße\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"
