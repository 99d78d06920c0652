"""Verdicts over recorded facts: pure functions of a History, repeatable from the files a year later.

A check is a function ``Facts -> findings``. A new one is a function in a file of its family and a line in CHECKS;
docs/verdicts.md says what each means. Checkers see no clock, no network and no cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from harness.checkers.answers import rpc
from harness.checkers.detection import detect_bound, detect_skew, detection, recovery
from harness.checkers.facts import Facts
from harness.checkers.loss import acked_lost, phantom
from harness.checkers.majority import dirty_bypass, dual_majority, minority_refuses
from harness.checkers.membership import mesh_complete, view_agreement
from harness.checkers.phases import PHASES
from harness.checkers.replicas import replica_divergence, unreported_divergence
from harness.checkers.service import availability, lag, latency
from harness.checkers.stalls import writer_stall
from harness.checkers.validity import enough_samples, fault_bit, final_state, generator, probes, record
from harness.checkers.verdict import Finding, Verdict
from harness.history import History

__all__ = ["CHECKS", "PHASES", "Facts", "Finding", "Verdict", "check"]

CHECKS: Final[dict[str, Callable[[Facts], Iterable[Finding]]]] = {
    "acked_lost": acked_lost,
    "replica_divergence": replica_divergence,
    "unreported_divergence": unreported_divergence,
    "dual_majority": dual_majority,
    "minority_refuses": minority_refuses,
    "view_agreement": view_agreement,
    "mesh_complete": mesh_complete,
    "rpc": rpc,
    "detection": detection,
    "detect_bound": detect_bound,
    "detect_skew": detect_skew,
    "recovery": recovery,
    "writer_stall": writer_stall,
    "latency": latency,
    "availability": availability,
    "lag": lag,
    "dirty_bypass": dirty_bypass,
    "phantom": phantom,
    "fault_bit": fault_bit,
    "enough_samples": enough_samples,
    "generator": generator,
    "probes": probes,
    "final_state": final_state,
    "record": record,
}


def check(history: History) -> Verdict:
    """Judge a run. Every check is told, also those that were silenced or had nothing to check. A severity that the
    scenario gives a check holds for all it finds."""
    facts = Facts(history)
    findings: list[Finding] = []
    for name, function in CHECKS.items():
        if any(expectation.limit.off for expectation in facts.expectations(name)):
            findings.append(Finding(name, "off", "silenced by the scenario"))
        elif (written := facts.expectation(name)) is not None:
            findings.extend(replace(finding, severity=written.severity) for finding in function(facts))
        else:
            findings.extend(function(facts))
    return Verdict.over(findings)
