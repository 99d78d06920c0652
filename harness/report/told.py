"""The verdict in words: what was lost, how long it was blind, how fast it came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from harness.checkers import Facts, Finding, Verdict
from harness.checkers.service import PhaseStats, phase_table
from harness.checkers.windows import FaultWindow, step_name
from harness.checkers.words import duration, printable, share
from harness.history import History
from harness.report.ending import Ending
from harness.report.events import recovered
from harness.scenario.plan import Plan

Line = tuple[str, str]
"""(style, text); style is one of PASS, FAIL, INCONCLUSIVE, ABORTED, strong, fail, unknown, warn, plain, faint."""

DUE: Final = "Times count from when an operation was due: where a fault blocks all users of a node, RPCs wait as well."
_SIGNS: Final = {"fail": "✗", "unknown": "?", "warn": "!"}


def headline(verdict: Verdict, facts: Facts) -> list[tuple[str, str]]:
    """(question, answer): the handful of figures a person asks for first."""
    told = [("lost", _lost(verdict))]
    for window in facts.timeline.windows:
        if window.observers:
            told.append(("blind", f"{_blind(facts, window)} ({window.name})"))
    for at, window in enumerate(facts.timeline.windows):
        if window.heal_began is None:
            continue
        back = "not whole again"
        following = facts.timeline.windows[at + 1 : at + 2]
        if window.whole is not None:
            back = duration((window.whole - window.heal_began) / 1e9)
            if following and window.whole > following[0].injected:
                back = f"not before {following[0].name}"
        told.append(("back after", f"{back} ({window.name})"))
    for record in facts.history.faults():
        if record.kind == "recover" and record.stage == "bit":
            told.append(("recovered", f"{recovered(record)} ({step_name(facts.plan, record.step, record.kind)})"))
    stalls = [f for f in verdict.of("writer_stall") if f.value is not None]
    if stalls:
        longest = max(stalls, key=lambda finding: finding.value or 0)
        least = "" if all("took_s" in item for item in longest.evidence) else "at least "
        told.append(("longest write", f"{least}{duration(longest.value)} ({longest.subject})"))
    return told


def _blind(facts: Facts, window: FaultWindow) -> str:
    if window.detection_s is not None:
        return duration(window.detection_s)
    if facts.unnoticeable(window):
        return "noticed by none while it lasted: shorter than net_ticktime"
    by = f"not noticed by {', '.join(sorted(window.observers - window.detected_by.keys()))}"
    return by if window.heal_began is not None else f"{by}, and its end is not recorded"


def _lost(verdict: Verdict) -> str:
    findings = verdict.of("acked_lost")
    lost = sum(int(finding.value or 0) for finding in findings)
    if all(finding.outcome in ("not_applicable", "off") for finding in findings):
        return "not judged" if any(f.outcome == "off" for f in findings) else "no writes to lose"
    if not lost and any(finding.outcome == "unknown" for finding in findings):
        return "unknown: not every copy could be read"
    return f"{lost:,} acknowledged write{'s' * (lost != 1)}" if lost else "nothing that was acknowledged"


def verdict_lines(
    verdict: Verdict, history: History, folder: Path | None = None, ending: Ending | None = None
) -> Iterator[Line]:
    """The whole verdict for a terminal. ``ending``: where it is more than the verdict."""
    facts = Facts(history)
    ending = ending or Ending.of(verdict)
    because = _because(verdict)
    if not ending.judged:
        because = f"ended before it was judged: {ending.error}"
    elif ending.error:
        but = "but the run itself went wrong" if ending.outcome != verdict.outcome else "and the run itself went wrong"
        because = f"{because}, {but}: {ending.error}"
    yield ending.outcome, f"{ending.outcome}  {facts.plan.name} (seed {facts.plan.seed}): {because}"
    if expected := as_expected(verdict, facts.plan):
        yield "strong", f"      {expected}"
    yield "plain", ""
    shown = ""
    for label, answer in headline(verdict, facts):
        yield "plain", f"  {label if label != shown else '':14} {answer}"
        shown = label
    table = phase_table(facts)
    if table:
        yield "plain", ""
        yield from _phase_lines(table)
        if facts.plan.load.rate is not None and facts.timeline.windows:
            yield "faint", f"  {DUE}"
    yield from _finding_lines(verdict.findings)
    if folder is not None:
        yield "plain", ""
        yield "plain", f"  report         {folder / 'report.html'}"
        yield "faint", f"  artefacts      {folder}"


def verdict_text(verdict: Verdict, history: History, folder: Path | None = None, ending: Ending | None = None) -> str:
    """The same as plain text."""
    return "\n".join(printable(text) for _, text in verdict_lines(verdict, history, folder, ending))


def _because(verdict: Verdict) -> str:
    if verdict.outcome == "FAIL":
        return f"proven violations: {', '.join(verdict.failed_checks)}"
    if verdict.outcome == "INCONCLUSIVE":
        unknown = dict.fromkeys(f.check for f in verdict.findings if f.decisive)
        return f"nothing proven wrong, but it could not be judged: {', '.join(unknown)}"
    return "no violation found"


def as_expected(verdict: Verdict, plan: Plan) -> str:
    """How what was found compares with ``expect_failure``; empty where the scenario expects no failure."""
    wanted, found = set(plan.expect_failure), set(verdict.failed_checks)
    if not wanted:
        return ""
    if wanted == found:
        return f"as expected: expect_failure names exactly {', '.join(verdict.failed_checks)}"
    told = [
        f"{said}: {', '.join(sorted(checks))}"
        for said, checks in (("not found", wanted - found), ("not in it", found - wanted))
        if checks
    ]
    return f"not what expect_failure names; {'; '.join(told)}"


def _phase_lines(table: Sequence[PhaseStats]) -> Iterator[Line]:
    yield "faint", f"  {'phase':12}{'lasted':>10}{'operations':>12}{'ok':>10}{'p50':>10}{'p99':>10}{'longest':>10}"
    for row in table:
        times = "".join(f"{duration(t):>10}" for t in (row.p50, row.p99, row.longest))
        ok = share(row.availability)
        yield "plain", f"  {row.phase:12}{duration(row.lasted):>10}{row.count:>12,}{ok:>10}{times}"


def _finding_lines(findings: Iterable[Finding]) -> Iterator[Line]:
    listed = tuple(findings)
    ranked = (
        [("fail", f) for f in listed if f.decisive and f.outcome == "fail"],
        [("unknown", f) for f in listed if f.decisive and f.outcome == "unknown"],
        [("warn", f) for f in listed if f.warns],
    )
    if any(ranked):
        yield "plain", ""
    for style, finding in chain(*ranked):
        yield style, f"  {_SIGNS[style]} {finding.title}: {finding.summary}"
        if style == "fail" and finding.evidence:
            yield "faint", f"      e.g. {in_words(finding.evidence[0])}"
    passed = len({f.check for f in listed if f.outcome == "pass"} - {f.check for _, f in chain(*ranked)})
    rest = [f"{passed} checks passed"]
    for outcome, said in (("not_applicable", "not applicable"), ("off", "silenced")):
        names = dict.fromkeys(f.check for f in listed if f.outcome == outcome)
        if names:
            rest.append(f"{said}: {', '.join(names)}" if outcome == "off" else f"{len(names)} {said}")
    yield "plain", ""
    yield "faint", f"  {', '.join(rest)}"


def in_words(evidence: Mapping[str, Any]) -> str:
    """One item of evidence on a line: ``id 17, target n1, ...``."""
    return ", ".join(f"{key} {_value(value)}" for key, value in evidence.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + in_words(value) + ")"
    if isinstance(value, list | tuple | set):
        return " ".join(_value(item) for item in value) or "none"
    return str(value)
