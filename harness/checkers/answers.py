"""rpc: the answers a scenario's own ``expect: rpc`` asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checkers.facts import Facts
from harness.checkers.verdict import EVIDENCE_LIMIT, Finding


def rpc(facts: Facts) -> Iterator[Finding]:
    """Every call of ``expect: rpc`` returned what was expected, on the nodes it was asked of. A timeout, a lost
    connection or a node that cannot be reached is no answer."""
    final = facts.history.final
    expected = facts.plan.expected_answers
    severity = facts.severity("rpc")
    if not expected:
        yield Finding("rpc", "not_applicable", "the scenario asks for no answers", severity=severity)
        return
    answers = final.rpc if final is not None else ()
    wrong = [dict(answer) for answer in answers if _outcome(answer) == "fail"]
    silent = [dict(answer) for answer in answers if _outcome(answer) == "unknown"]
    answered = len(answers) - len(silent)
    if answered < len(expected):
        yield Finding("rpc", "unknown", f"{answered} of {len(expected)} calls were answered", severity=severity,
                      evidence=tuple(silent[:EVIDENCE_LIMIT]))  # fmt: skip
    if wrong:
        summary = f"{len(wrong)} of {len(answers)} answers are not as expected"
        yield Finding("rpc", "fail", summary, severity=severity, value=float(len(wrong)), limit=0.0,
                      evidence=tuple(wrong[:EVIDENCE_LIMIT]))  # fmt: skip
    elif answered >= len(expected):
        yield Finding("rpc", "pass", f"{len(answers)} answers are as expected", severity=severity, value=0.0,
                      limit=0.0)  # fmt: skip


def _outcome(answer: Mapping[str, Any]) -> str:
    return str(answer.get("outcome", "ok" if answer.get("ok") else "fail"))
