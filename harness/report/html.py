"""report.html: one file that opens offline. The page is report.html.j2, its charts report.js, its looks report.css."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness import __version__
from harness.checkers import Facts, Finding, Verdict
from harness.checkers.service import phase_table
from harness.checkers.windows import FOREVER, step_name
from harness.checkers.words import duration, figure, share
from harness.history import History
from harness.report import membership, series
from harness.report.ending import Ending
from harness.report.events import involved
from harness.report.summary import started_at
from harness.report.told import as_expected, headline, in_words
from harness.store import RunDir

_HERE: Final = Path(__file__).parent
_ORDER: Final = ("fail", "unknown", "warning", "pass", "off", "not_applicable")


def write(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> Path:
    """Write report.html and return its path. Raises DiskFull."""
    return rundir.write_text("report.html", render(rundir, history, verdict, ending))


def render(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> str:
    """The page. Everything that comes from a run is escaped, also inside the script's data."""
    facts = Facts(history)
    pages = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    pages.filters |= {"duration": duration, "share": share, "words": in_words}
    return pages.get_template("report.html.j2").render(
        version=__version__,
        plan=facts.plan,
        run=rundir.run_id,
        folder=rundir.path.name,
        started=started_at(rundir),
        verdict=verdict,
        ending=ending,
        expected=as_expected(verdict, facts.plan),
        tiles=_tiles(headline(verdict, facts)),
        operations=len(history.operations),
        findings=_findings(verdict),
        phases=phase_table(facts, by_operation=True),
        environment=list(_flat(rundir.read_json("env.json") or {})),
        css=Markup((_HERE / "report.css").read_text()),
        js=Markup((_HERE / "report.js").read_text()),
        data=Markup(_script_safe(chart_data(facts))),
    )


def chart_data(facts: Facts) -> dict[str, Any]:
    """What report.js draws; times in seconds from full load."""
    clock = series.Clock(facts)
    phases = [
        {"phase": name, "start": max(facts.timeline.relative(start), 0.0), "end": _end(facts, end)}
        for name, start, end in facts.timeline.intervals
        if name not in ("before", "after") and start < facts.timeline.load_end
    ]
    faults = [
        {
            "name": window.name,
            "kind": window.kind,
            "nodes": involved(window.step, window.targets, facts.plan),
            "start": facts.timeline.relative(window.injected),
            "end": _end(facts, window.healed if window.healed is not None else FOREVER),
        }
        for window in facts.timeline.windows
    ]
    return {
        "span": clock.span_s,
        "times": clock.centres,
        "phases": phases,
        "faults": faults,
        "steps": [
            {"at": facts.timeline.relative(r.time), "kind": r.kind, "name": step_name(facts.plan, r.step, r.kind)}
            for r in facts.history.faults()
            if r.kind in ("recover", "rpc") and r.stage == "injecting"
        ],
        "operations": series.operations(facts, clock),
        "lag": series.lag(facts, clock),
        "backlog": series.backlog(facts, clock),
        "lanes": membership.lanes(facts),
    }


def _tiles(told: list[tuple[str, str]]) -> dict[str, list[str]]:
    tiles: dict[str, list[str]] = {}
    for question, answer in told:
        tiles.setdefault(question, []).append(answer)
    return tiles


def _end(facts: Facts, time: int) -> float:
    return facts.timeline.relative(min(time, facts.timeline.load_end))


def _findings(verdict: Verdict) -> list[dict[str, Any]]:
    """Worst first, with what the page shows of each."""
    told = [
        {
            "state": _state(finding),
            "title": finding.title,
            "summary": finding.summary,
            "value": figure(finding.value, finding.unit),
            "limit": figure(finding.limit, finding.unit),
            "evidence": [_cells(item) for item in finding.evidence],
        }
        for finding in verdict.findings
    ]
    return sorted(told, key=lambda finding: _ORDER.index(str(finding["state"])))


def _state(finding: Finding) -> str:
    return "warning" if finding.warns else finding.outcome


def _cells(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, in_words({"": value}).strip()) for key, value in evidence.items()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key} · ")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, item)) if isinstance(item, list) else str(item)


def _script_safe(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
