"""junit.xml: one testcase per finding, for whatever shows test results.

A violation is a failure, what could not be judged an error, what did not apply or was silenced is skipped. What went
wrong with the run itself is an error of a testcase of its own, ``run``.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

from harness.checkers import Finding, Verdict
from harness.history import History
from harness.report.ending import Ending
from harness.report.summary import started_at
from harness.report.told import in_words
from harness.scenario.plan import Plan
from harness.store import RunDir

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(rundir: RunDir, history: History, verdict: Verdict, ending: Ending) -> None:
    """Raises DiskFull."""
    plan: Plan = history.plan
    suite = _suite(plan, rundir)
    for finding in verdict.findings:
        _case(suite, plan.name, finding)
    if ending.error:
        _run_case(suite, plan, ending)
    _count(suite)
    _save(rundir, suite)


def write_aborted(rundir: RunDir, plan: Plan, ending: Ending) -> None:
    """A run without a verdict: one testcase, an error."""
    suite = _suite(plan, rundir)
    _run_case(suite, plan, ending)
    _count(suite)
    _save(rundir, suite)


def _suite(plan: Plan, rundir: RunDir) -> ET.Element:
    suite = ET.Element("testsuite", name=_text(plan.name), time=f"{plan.duration:g}", hostname="harness")
    if stamp := started_at(rundir):
        suite.set("timestamp", stamp.removesuffix("+00:00"))
    properties = ET.SubElement(suite, "properties")
    for name, value in (("seed", str(plan.seed)), ("run", rundir.run_id)):
        ET.SubElement(properties, "property", name=name, value=_text(value))
    return suite


def _case(suite: ET.Element, scenario: str, finding: Finding) -> None:
    case = ET.SubElement(suite, "testcase", classname=_text(scenario), name=_text(finding.title), time="0")
    details = "\n".join([finding.summary, *map(in_words, finding.evidence)])
    if finding.outcome in ("not_applicable", "off"):
        ET.SubElement(case, "skipped", message=_text(finding.summary))
    elif finding.decisive:
        tag = "failure" if finding.outcome == "fail" else "error"
        told = ET.SubElement(case, tag, type=finding.check, message=_text(finding.summary))
        told.text = _text(details)
    else:
        prefix = "warning: " if finding.warns else ""
        ET.SubElement(case, "system-out").text = _text(prefix + details)


def _run_case(suite: ET.Element, plan: Plan, ending: Ending) -> None:
    case = ET.SubElement(suite, "testcase", classname=_text(plan.name), name="run", time="0")
    ET.SubElement(case, "error", type=ending.kind, message=_text(ending.error))


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for counter, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(counter, str(len(suite.findall(f"testcase/{tag}"))))


def _save(rundir: RunDir, suite: ET.Element) -> None:
    root = ET.Element("testsuites")
    for counter in ("name", "tests", "failures", "errors", "skipped", "time"):
        root.set(counter, suite.get(counter, ""))
    root.append(suite)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    rundir.write_text("junit.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _text(value: str) -> str:
    """XML 1.0 has no way to write most control characters."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
