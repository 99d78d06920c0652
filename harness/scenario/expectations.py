"""What a scenario expects: names of checks and limits as people write them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, Literal

from harness.scenario.schema import Limit
from harness.scenario.units import duration

Unit = Literal["duration", "ratio", "count", "yes"]

# name -> (what its limit is, what it says). ``yes``: holds or not, so that only ``off`` and a severity can be said.
CHECKS: dict[str, tuple[Unit, str]] = {
    "acked_lost": ("count", "acknowledged writes absent from a copy that serves reads"),
    "phantom": ("count", "writes present without an acknowledgement; no failure without a limit"),
    "replica_divergence": ("count", "tables whose replicas hold different contents after quiesce"),
    "unreported_divergence": ("count", "diverged tables that Mnesia did not report as inconsistent"),
    "dual_majority": ("count", "keys committed on both sides of one cut of a majority table"),
    "view_agreement": ("yes", "every node lists the same running_db_nodes and where_to_write"),
    "mesh_complete": ("yes", "every node is connected with every other after quiesce"),
    "detection": ("duration", "from a fault in force to nodedown on every node concerned"),
    "detect_bound": ("duration", "detection against net_ticktime, or against this limit"),
    "detect_skew": ("duration", "between the first and the last node to detect a fault"),
    "recovery": ("duration", "from the end of a fault to a cluster that is whole again"),
    "writer_stall": ("duration", "the longest write of each context while a fault lasts"),
    "minority_refuses": ("yes", "a minority aborts transactions on majority tables once it has detected the cut"),
    "dirty_bypass": ("count", "dirty writes accepted by a minority on majority tables"),
    "latency": ("duration", "99th percentile from the intended start of an operation"),
    "availability": ("ratio", "operations that ended ok, of those that ended"),
    "enough_samples": ("count", "operations per phase needed for a judgement"),
    "lag": ("duration", "99th percentile of replication lag"),
    "fault_bit": ("yes", "every fault was seen to bite and to be healed"),
    "generator": ("yes", "the load generator kept its rate"),
    "probes": ("yes", "every node was watched to the end"),
    "final_state": ("yes", "every replica could be read after quiesce"),
    "record": ("yes", "what the run wrote down can be read back, to its end"),
    "rpc": ("yes", "answers of the scenario's own expect: rpc"),
}
LOWER = frozenset({"availability", "enough_samples"})  # a bare upper limit makes no sense for these
SAFETY = frozenset({"acked_lost", "replica_divergence", "dual_majority", "unreported_divergence"})  # limit 0, always
PHASED = frozenset({"latency", "availability", "lag"})  # what is measured per phase
PHASES = ("before", "undetected", "detected", "healing", "after")
_ALWAYS = "{} is always held against 0; write off, or {{severity: warn}}"
LONG_FORM = ("limit", "min", "phase", "severity", "off")


def suggest(name: object, known: Any) -> str:
    """``; did you mean nodes?`` or an empty string."""
    close = nearest(name, known)
    return f"; did you mean {close}?" if close else ""


def nearest(name: object, known: Any) -> str:
    """The known name that was probably meant, or an empty string."""
    return next(iter(get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)), "")


def known_check(name: str) -> str:
    """Empty for a known check, else what to say of the name."""
    if name in CHECKS:
        return ""
    return f"no check is called {name!r}{suggest(name, CHECKS) or '; there are ' + ', '.join(CHECKS)}"


def parse_expectation(check: str, written: Any) -> Limit:
    """``10s``, ``{min: 99%}``, ``off``, ``{limit: 50ms, phase: after, severity: warn}`` -> Limit.

    Seconds, ratios (99% is 0.99) or counts. Raises ValueError with a cause a person understands.
    """
    if said := known_check(check):
        raise ValueError(said)
    unit = CHECKS[check][0]
    if written is False or written == "off":
        return Limit(off=True)
    if not isinstance(written, dict):
        if check in LOWER:
            raise ValueError(f"{check} needs a lower limit: {{min: {'99%' if unit == 'ratio' else 100}}}")
        limit = _number(check, unit, written)
        if check in SAFETY and limit:
            raise ValueError(_ALWAYS.format(check))
        return Limit(limit=limit)
    for key in written:
        if key not in LONG_FORM:
            raise ValueError(f"unknown key {key!r}{suggest(key, LONG_FORM) or '; there are ' + ', '.join(LONG_FORM)}")
    phase, severity, off = written.get("phase", ""), written.get("severity", "fail"), written.get("off", False)
    if phase not in ("", *PHASES):
        raise ValueError(f"no phase is called {phase!r}{suggest(phase, PHASES) or '; there are ' + ', '.join(PHASES)}")
    if severity not in ("fail", "warn"):
        raise ValueError(f"severity is fail or warn, not {severity!r}")
    if not isinstance(off, bool):
        raise ValueError("off is true or false")
    limits = {key: _number(check, unit, written[key]) for key in ("limit", "min") if key in written}
    if not limits and not off and "severity" not in written:
        raise ValueError(f"an expectation needs a limit: {check}: {_example(unit)}")
    if phase and check not in PHASED:
        raise ValueError(f"{check} is not told per phase; phase goes with {', '.join(sorted(PHASED))}")
    if unit == "count" and (wrong := ("limit" if check in LOWER else "min")) in limits:
        raise ValueError(
            f"{check} takes no {wrong}; write {check}: {'{min: 100}' if check in LOWER else _example(unit)}"
        )
    if check in SAFETY and limits.get("limit"):
        raise ValueError(_ALWAYS.format(check))
    if "limit" in limits and "min" in limits and limits["min"] > limits["limit"]:
        raise ValueError(f"min {written['min']} is above limit {written['limit']}")
    return Limit(phase=phase, severity=severity, off=off, **limits)


def _number(check: str, unit: Unit, written: Any) -> float:
    if unit == "yes":
        raise ValueError(f"{check} holds or does not; write off, or {{severity: warn}}")
    wrong = ValueError(f"{check} is a {unit}, like {_example(unit)}; not {written!r}")
    if isinstance(written, bool):
        raise wrong
    if unit == "duration":
        try:
            return float(duration(written))  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{check}: {error}") from error
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", written)
        if not match or (match[2] and unit != "ratio"):
            raise wrong
        written = float(match[1]) / (100 if match[2] else 1)
    if not isinstance(written, int | float) or not 0 <= written < 1e15 or (unit == "ratio" and written > 1):
        raise wrong
    return float(written)


def _example(unit: Unit) -> str:
    return {"duration": "10s", "ratio": "99%", "count": "0", "yes": "off"}[unit]
