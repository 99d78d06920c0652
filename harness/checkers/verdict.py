"""What judging a run yields: findings, and one verdict over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Outcome = Literal["pass", "fail", "unknown", "not_applicable", "off"]
Severity = Literal["fail", "warn"]
Judgement = Literal["PASS", "FAIL", "INCONCLUSIVE"]

_EXIT_CODES: Final[dict[Judgement, int]] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 5}

EVIDENCE_LIMIT: Final = 10
"""Items of evidence a finding carries at most; its ``value`` counts them all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of one subject (a table and context, a fault, a phase; empty: the run).

    ``severity`` warn: the finding is told and never decides the verdict. ``value`` and ``limit`` are in ``unit``
    (``s``, ``ratio`` or what is counted). ``evidence``: up to EVIDENCE_LIMIT mappings an engineer can act on.
    """

    check: str
    outcome: Outcome
    summary: str
    severity: Severity = "fail"
    value: float | None = None
    limit: float | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    subject: str = ""
    unit: str = ""

    @property
    def title(self) -> str:
        """``check`` or ``check [subject]``, unique in a verdict."""
        return f"{self.check} [{self.subject}]" if self.subject else self.check

    @property
    def decisive(self) -> bool:
        """Whether this finding keeps the run from PASS."""
        return self.severity == "fail" and self.outcome in ("fail", "unknown")

    @property
    def warns(self) -> bool:
        """Something a person should see that does not decide the verdict."""
        return self.severity == "warn" and self.outcome in ("fail", "unknown")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """FAIL beats INCONCLUSIVE beats PASS; only findings of severity fail count."""

    outcome: Judgement
    findings: tuple[Finding, ...]

    @classmethod
    def over(cls, findings: Iterable[Finding]) -> Verdict:
        """The verdict these findings add up to."""
        listed = tuple(findings)
        decisive = {finding.outcome for finding in listed if finding.decisive}
        if "fail" in decisive:
            return cls("FAIL", listed)
        return cls("INCONCLUSIVE" if decisive else "PASS", listed)

    @property
    def exit_code(self) -> int:
        return _EXIT_CODES[self.outcome]

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """Names of the checks that make this a FAIL, each once: what ``expect_failure`` is compared with."""
        return tuple(dict.fromkeys(f.check for f in self.findings if f.decisive and f.outcome == "fail"))

    def of(self, check: str) -> tuple[Finding, ...]:
        """The findings of one check."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "failed_checks": list(self.failed_checks),
            "findings": [finding.to_json() for finding in self.findings],
        }
