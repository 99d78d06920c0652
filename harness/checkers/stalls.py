"""writer_stall: how long a single write blocked while a fault lasted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.checkers.facts import WRITES, Facts, judged
from harness.checkers.verdict import Finding
from harness.checkers.windows import FaultWindow
from harness.checkers.words import duration

SLACK = 0.1
"""Seconds a write may take beyond detection: DOMAIN's bound for a transaction that restarts at nodedown."""


def writer_stall(facts: Facts) -> Iterator[Finding]:
    """Longest write or update per context in flight during each fault, against detection + SLACK."""
    contexts = sorted({context for _, context in facts.writers})
    windows = facts.timeline.windows
    if not contexts or not windows:
        yield Finding("writer_stall", "not_applicable", "no writes under a fault", severity="warn")
        return
    for window in windows:
        for context in contexts:
            yield _longest(facts, window, context)


def _longest(facts: Facts, window: FaultWindow, context: str) -> Finding:
    subject = f"{window.name}, {context}"
    ops = facts.operations
    ended = window.healed if window.healed is not None else facts.timeline.load_end
    known_until = np.where(ops.end >= 0, ops.end, facts.timeline.load_end)
    during = ops.of_kind(*WRITES, context=context) & (ops.start < ended) & (known_until > window.injected)
    rows = np.flatnonzero(during)
    limit = facts.expectation("writer_stall")
    if not len(rows):
        severity = facts.severity("writer_stall", "warn")
        return Finding("writer_stall", "unknown", "no write was in flight", severity=severity, subject=subject)
    took = (known_until[rows] - ops.start[rows]) / 1e9
    worst = int(rows[int(np.argmax(took))])
    longest = float(took.max())
    default = None
    if window.detection_s is not None:
        default = window.detection_s + SLACK
    summary = f"longest {context} write {'at least ' if ops.end[worst] < 0 else ''}{duration(longest)}"
    if unanswered := int((ops.end[rows] < 0).sum()):
        summary += f"; {unanswered:,} never answered"
    found = judged("writer_stall", longest, limit, summary, default=default, unit="s", subject=subject,
                   evidence=(facts.operation(worst),))  # fmt: skip
    # whoever gave up waiting knows only how long it was at least
    given_up = int((ops.end[rows] < 0).sum() + np.isin(ops.reason[rows], _timeouts(facts)).sum())
    if limit is not None and given_up and found.outcome == "pass":
        summary += f"; {given_up:,} were given up, so that nobody knows how long they would have taken"
        return replace(found, outcome="unknown", summary=summary)
    return found


def _timeouts(facts: Facts) -> list[int]:
    return [number for number, reason in enumerate(facts.operations.reasons) if reason == "timeout"]
