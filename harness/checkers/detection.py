"""How long the cluster was blind and how fast it came back: detection, detect_bound, detect_skew, recovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.checkers.facts import Facts, judged
from harness.checkers.verdict import Finding, Outcome
from harness.checkers.windows import FaultWindow
from harness.checkers.words import duration


def _noticeable(facts: Facts) -> tuple[FaultWindow, ...]:
    return tuple(window for window in facts.timeline.windows if window.observers)


def _per_node(window: FaultWindow) -> tuple[dict[str, Any], ...]:
    def after(node: str) -> float | None:
        at = window.detected_by.get(node)
        return None if at is None else round(max(0, at - window.in_force) / 1e9, 3)

    return tuple({"node": node, "detected_after_s": after(node)} for node in sorted(window.observers))


def detection(facts: Facts) -> Iterator[Finding]:
    """From a fault in force to ``nodedown`` on every node that lost a peer. Decides only with a limit."""
    yield from _detection(facts, "detection", None)


def detect_bound(facts: Facts) -> Iterator[Finding]:
    """The same against what ``net_ticktime`` T and ``net_tickintensity`` I promise: T(1+1/I) + 1 s."""
    yield from _detection(facts, "detect_bound", facts.detection_bound)


def _detection(facts: Facts, check: str, bound: float | None) -> Iterator[Finding]:
    limit = facts.expectation(check)
    severity = facts.severity(check, "warn")
    windows = _noticeable(facts)
    if not windows:
        yield Finding(check, "not_applicable", "no fault that nodes have to notice", severity=severity)
    for window in windows:
        evidence = _per_node(window)
        if (took := window.detection_s) is not None:
            summary = f"every node had noticed after {duration(took)}"
            default = bound if window.kind != "kill" else None  # a killed node's connections close at once
            yield judged(check, took, limit, summary, default=default, error=window.clock_error, unit="s",
                         subject=window.name, evidence=evidence)  # fmt: skip
            continue
        lasted = facts.lasted(window)
        late = _unseen(window)
        allowed = limit.limit if limit is not None else None
        outcome: Outcome = "unknown" if limit is not None or bound is None else "not_applicable"
        summary = f"the fault ended after {duration(lasted)}, before {late} noticed"
        if facts.unnoticeable(window):
            summary = "noticed by none while it lasted: it was shorter than net_ticktime"
            outcome = "unknown" if limit is not None else "not_applicable"
        elif window.heal_began is None:
            summary = f"its end is not recorded; {late} had not noticed {duration(lasted)} into it"
        weight = severity
        watched = window.observers - window.detected_by.keys() - facts.unwatched
        if allowed is not None and lasted > allowed and window.bit is not None and watched:
            outcome, summary = "fail", f"{late} had not noticed when the fault ended after {duration(lasted)}"
        elif facts.overdue(window):
            # nothing seen proves no violation, and neither that what rests on detection was tested
            outcome, summary = "unknown", f"{late} was not seen to notice a fault of {duration(lasted)}"
            weight = facts.severity(check) if bound is not None else severity
        yield Finding(check, outcome, summary, severity=weight, limit=allowed if allowed is not None else bound,
                      unit="s", evidence=evidence, subject=window.name)  # fmt: skip


def _unseen(window: FaultWindow) -> str:
    return ", ".join(sorted(window.observers - window.detected_by.keys()))


def detect_skew(facts: Facts) -> Iterator[Finding]:
    """Between the first and the last node to notice."""
    limit = facts.expectation("detect_skew")
    windows = [window for window in _noticeable(facts) if window.detected is not None or limit is not None]
    if not windows:
        severity = facts.severity("detect_skew", "warn")
        yield Finding("detect_skew", "not_applicable", "no fault was noticed by all", severity=severity)
    for window in windows:
        if window.detected is None:
            yield Finding("detect_skew", "unknown", f"{_unseen(window)} was not seen to notice",
                          severity=facts.severity("detect_skew"), unit="s", subject=window.name,
                          evidence=_per_node(window))  # fmt: skip
            continue
        skew = (max(window.detected_by.values()) - min(window.detected_by.values())) / 1e9
        yield judged("detect_skew", skew, limit, f"{duration(skew)} from first to last node",
                     error=2 * window.clock_error, unit="s", subject=window.name,
                     evidence=_per_node(window))  # fmt: skip


def recovery(facts: Facts) -> Iterator[Finding]:
    """From the order to heal until the cluster is whole again (see harness.checkers.windows), and stays so."""
    limit = facts.expectation("recovery")
    severity = facts.severity("recovery", "warn")
    windows = [window for window in facts.timeline.windows if window.heal_began is not None]
    if not windows:
        yield Finding("recovery", "not_applicable", "no fault was healed", severity=severity)
    for at, window in enumerate(windows):
        assert window.heal_began is not None
        following = windows[at + 1].injected if at + 1 < len(windows) else None
        if following is not None and (window.whole is None or window.whole > following):
            yield Finding("recovery", "unknown", "the next fault came before the cluster was whole again",
                          severity=severity, subject=window.name)  # fmt: skip
        elif window.whole is None:
            until = (facts.timeline.load_end - window.heal_began) / 1e9
            yield _never(facts, window, f"not whole again {max(until, 0):.1f} s after healing began, when load ended")
        elif window.observers and not window.detected_by and (window.kind == "kill" or facts.overdue(window)):
            yield Finding("recovery", "unknown", "nobody was seen to lose anybody: nothing tells when all was back",
                          severity=severity, subject=window.name)  # fmt: skip
        elif following is None and (still := _still_broken(facts)):
            yield _never(facts, window, still)
        else:
            took = (window.whole - window.heal_began) / 1e9
            yield judged("recovery", took, limit, f"whole again {duration(took)} after healing began", unit="s",
                         subject=window.name)  # fmt: skip


def _never(facts: Facts, window: FaultWindow, why: str) -> Finding:
    limit = facts.expectation("recovery")
    allowed = limit.limit if limit is not None else None
    severity = facts.severity("recovery", "warn")
    return Finding("recovery", "fail", why, severity=severity, limit=allowed, unit="s", subject=window.name)


def _still_broken(facts: Facts) -> str:
    """Nodes that see each other are not enough: at the end the copies have to hold the same."""
    final = facts.history.final
    if final is None:
        return ""
    for table in (*(t.name for t in facts.plan.tables), *facts.plan.observed_tables):
        if len({(copy.count, copy.digest) for copy in facts.replicas(table) if copy.serves_reads}) > 1:
            return f"never: the copies of {table} differ to the end"
    return ""
