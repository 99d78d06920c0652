"""summary.json, junit.xml, report.html of a run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from histories import HistoryBuilder, healthy
from plans import three_nodes

from harness.checkers import Verdict, check
from harness.errors import ClusterNotFormed
from harness.history_files import load_history
from harness.report import write_aborted, write_all
from harness.store import RunDir

HOSTILE = '</script><script>alert("x")</script> & \' " \x00\x1b[31m ]]> \u2028 {{ 7*7 }}'


def reported(built: HistoryBuilder, folder: Path) -> tuple[RunDir, Verdict, dict[str, Any]]:
    rundir = built.write(folder)
    rundir.write_json("env.json", {"machine": {"kernel": HOSTILE}, "libraries": ["a", "b"]})
    history = load_history(rundir)
    verdict = check(history)
    return rundir, verdict, write_all(rundir, history, verdict)


def failing(**changes: Any) -> HistoryBuilder:
    built = healthy(three_nodes(duration=60.0, **changes))
    built.lose(1, "n1")
    built.mark("worker_lost", 20.0, worker="w1")
    built.lag = [(at / 10, 1e-4, at, "kv", "n1", "n2", "transaction") for at in range(1, 500)]
    return built


# --- summary.json ---


def test_the_summary_holds_verdict_phases_and_faults(tmp_path: Path) -> None:
    rundir, verdict, told = reported(failing(), tmp_path)
    summary = json.loads((rundir.path / "summary.json").read_text())
    assert summary == json.loads(json.dumps(told, default=str))
    assert summary["schema_version"] == 1
    assert (summary["outcome"], summary["exit_code"]) == (verdict.outcome, 1)
    assert summary["failed_checks"] == ["acked_lost", "replica_divergence"]
    assert [row["phase"] for row in summary["phases"] if not row["op"]] == [
        "before",
        "undetected",
        "detected",
        "healing",
        "after",
    ]
    (fault,) = summary["faults"]
    assert (fault["injected"], fault["detected"], fault["healed"], fault["whole_again"]) == (10.0, 15.0, 30.1, 33.0)
    assert summary["started_at"].endswith("+00:00")


def test_a_run_without_a_verdict_still_has_every_artefact(tmp_path: Path) -> None:
    rundir = RunDir.create(tmp_path, three_nodes())
    told = write_aborted(rundir, rundir.plan(), ClusterNotFormed("start", "n2 died", "see its log", node="n2"))
    assert (told["outcome"], told["exit_code"]) == ("ABORTED", 4)
    root = ET.parse(rundir.path / "junit.xml").getroot()
    assert root.get("errors") == "1"
    error = root.find("testsuite/testcase/error")
    assert error is not None
    assert "n2 died" in error.get("message", "")
    page = (rundir.path / "report.html").read_text()
    assert "Ended before it was judged, so that what follows is no verdict: n2: start: n2 died" in page


# --- junit.xml ---


def test_junit_sorts_findings_as_its_readers_expect(tmp_path: Path) -> None:
    expectations = [{"check": "view_agreement", "limit": {"off": True}}]
    rundir, verdict, _ = reported(failing(expectations=expectations), tmp_path)
    root = ET.parse(rundir.path / "junit.xml").getroot()
    (suite,) = root.findall("testsuite")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert len(cases) == len(verdict.findings) == int(suite.get("tests", "0"))
    assert cases["acked_lost [kv, transaction]"].find("failure") is not None
    assert cases["generator"].find("error") is not None
    assert cases["view_agreement"].find("skipped") is not None
    assert cases["mesh_complete"].find("system-out") is not None
    for counter, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(counter) == root.get(counter) == str(len(suite.findall(f"testcase/{tag}")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))


def test_junit_of_hostile_text_is_xml(tmp_path: Path) -> None:
    built = failing(description=HOSTILE)
    built.problems = (HOSTILE,)
    rundir, _, _ = reported(built, tmp_path)
    root = ET.parse(rundir.path / "junit.xml").getroot()
    errors = [case.find("error") for case in root.iter("testcase") if case.get("name") == "final_state"]
    assert errors[0] is not None
    assert "</script>" in errors[0].get("message", "")


# --- report.html ---


class Page(HTMLParser):
    """Tags, attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._open = ""
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def page(built: HistoryBuilder, folder: Path) -> tuple[Page, str]:
    rundir, _, _ = reported(built, folder)
    text = (rundir.path / "report.html").read_text()
    return Page(text), text


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    made, text = page(failing(), tmp_path)
    assert not [attrs for _, attrs in made.tags if attrs.keys() & {"src", "href", "srcset", "data"}]
    assert "@import" not in text
    assert "url(" not in text
    assert [tag for tag, _ in made.tags if tag in ("link", "iframe", "img", "object", "embed")] == []


def test_the_page_shows_verdict_evidence_and_phases(tmp_path: Path) -> None:
    made, _ = page(failing(), tmp_path)
    for said in ("FAIL", "acked_lost [kv, transaction]", "missing_on", "undetected", "1 acknowledged write"):
        assert said in made.text
    data = json.loads(made.scripts[0])
    assert [fault["nodes"] for fault in data["faults"]] == ["n1 | n2 n3"]
    assert [p["phase"] for p in data["phases"]] == ["undetected", "detected", "healing"]
    assert len(data["times"]) == len(data["operations"][0]["p99"]) == len(data["lag"][0]["p99"])
    lanes = {lane["node"]: lane for lane in data["lanes"]}
    states = [state for state, _ in groupby(span["state"] for span in lanes["n1"]["spans"])]
    assert states == ["whole", "apart", "mnesia", "whole"]
    assert lanes["n1"]["marks"][0]["text"].startswith("inconsistent_database")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    built = failing(name="h", description=HOSTILE)
    built.problems = (HOSTILE,)
    built.op(5.0, target=HOSTILE)
    built.op(6.0, table=HOSTILE)
    built.seen(20.0, "n1", "mnesia_error", HOSTILE)
    made, text = page(built, tmp_path)
    assert len(made.scripts) == 2
    assert [tag for tag, _ in made.tags].count("script") == 2
    assert "<script>alert" not in text
    assert '</script><script>alert("x")' in made.text
    json.loads(made.scripts[0])
    assert "{{ 7*7 }}" in made.text


@pytest.mark.parametrize("operations", [0, 1])
def test_a_run_with_hardly_anything_in_it_has_a_page(tmp_path: Path, operations: int) -> None:
    built = HistoryBuilder()
    built.without_final = True
    for _ in range(operations):
        built.op(1.0, took=None)
    made, _ = page(built, tmp_path)
    assert "INCONCLUSIVE" in made.text
