"""The shipped scenarios as a user meets them: the real command, its exit code, what it leaves and what it does not.

Each scenario runs once for the module, when the first test asks for it; none of them asserts a time.
"""

from __future__ import annotations

import json
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import NAMES, browser, dumped, text
from commands import PATIENCE, Begin, Command, Ground, Run, phase, tiny, wait_until

from harness.data import data_path

pytestmark = pytest.mark.docker

EXIT_CODES = {"smoke": 0, "partition": 0, "partition-dirty": 1, "kill": 0, "mixed-otp": 0, "locustfile": 0}
SCENARIOS = pytest.mark.parametrize("name", EXIT_CODES)


class Shipped(Run):
    """``harness run NAME.yml`` in an empty folder."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        super().__init__(folder, f"{name}.yml", *options)

    def finding(self, check: str, subject: str = "") -> dict[str, Any]:
        (found,) = (f for f in self.json("summary.json")["findings"] if (f["check"], f["subject"]) == (check, subject))
        return dict(found)


class Runs(dict[str, Shipped]):
    """Runs by scenario name, each begun and awaited when first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Shipped:
        folder = self._folder / name
        folder.mkdir()
        self[name] = run = Shipped(folder, name)
        run.process.wait(600)
        return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    begun = Runs(tmp_path_factory.mktemp("shipped"))
    yield begun
    for run in begun.values():
        run.signal(signal.SIGTERM)  # of those that a failing test left
        run.process.wait(PATIENCE)


@pytest.fixture
def a_browser() -> None:
    """What needs one is skipped without; the runs themselves are not."""
    if not browser():
        pytest.skip(f"none of {', '.join(NAMES)} is installed: apt-get install chromium")


def harness(run: Shipped, *arguments: str) -> Command:
    command = Command(run.out.parent, *arguments)
    command.end()
    return command


def test_every_shipped_scenario_is_run_here() -> None:
    assert {path.stem for path in data_path("scenarios").glob("*.yml")} == set(EXIT_CODES)


@SCENARIOS
def test_the_verdict_is_the_expected_one(runs: Runs, name: str) -> None:
    run = runs[name]
    summary = run.json("summary.json")
    assert run.process.returncode == EXIT_CODES[name] == summary["exit_code"], run.stdout + run.stderr
    assert set(summary["failed_checks"]) == set(summary["expect_failure"])
    assert "Traceback" not in run.stderr + run.stdout
    again = harness(run, "check", "--json")
    assert again.process.returncode == EXIT_CODES[name]
    verdict = json.loads(again.stdout)
    assert verdict == {key: summary[key] for key in verdict}


@SCENARIOS
def test_nothing_is_left_running(runs: Runs, name: str) -> None:
    assert not Ground().left(runs[name])


@SCENARIOS
def test_artefacts_are_all_there(runs: Runs, name: str) -> None:
    run = runs[name]
    summary, plan, environment = (run.json(f"{part}.json") for part in ("summary", "plan", "env"))
    nodes = [node["name"] for node in plan["nodes"]]
    assert (summary["schema_version"], summary["scenario"], plan["name"]) == (1, name, name)
    assert set(environment["nodes"]) == set(nodes)
    assert all(node["image"]["id"].startswith("sha256:") for node in environment["nodes"].values())
    assert f"name: {name}" in (run.folder / "scenario.resolved.yml").read_text()
    for node in nodes:
        assert (run.folder / "logs" / f"{node}.log").stat().st_size
    stages = [event.stage for event in run.events() if event.type == "fault"]
    assert {"injecting", "bit"} <= set(stages)

    suite = ET.parse(run.folder / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert len(suite.findall("testcase")) == len(summary["findings"])
    assert {case.attrib["type"] for case in suite.iter("failure")} == set(summary["failed_checks"])

    metrics = (run.folder / "metrics.om").read_text()
    assert metrics.endswith("# EOF\n")
    assert "harness_operation_duration_seconds_bucket" in metrics

    report = (run.folder / "report.html").read_text()
    for reference in ("src=", "href=", "@import", "url(", "fetch("):
        assert f"{reference}http" not in report.replace('"', "").replace("'", "")


@SCENARIOS
def test_the_history_holds_acknowledged_writes(runs: Runs, name: str) -> None:
    exported = harness(runs[name], "history", "export")
    assert exported.process.returncode == 0, exported.stderr
    records = [json.loads(line) for line in exported.stdout.splitlines()]
    writes = {record["id"] for record in records if record["type"] == "ok" and record["kind"] == "write"}
    invoked = {record["id"] for record in records if record["type"] == "invoke"}
    assert writes
    assert writes <= invoked


def test_partition_shows_what_a_split_does(runs: Runs) -> None:
    run = runs["partition"]
    assert run.finding("minority_refuses", "kv, partition")["outcome"] == "pass"
    cut = next(fault for fault in run.json("summary.json")["faults"] if fault["kind"] == "partition")
    assert set(cut["detected_by"]) == {"n1", "n2", "n3"}
    recovered = next(e for e in run.events() if e.type == "fault" and e.kind == "recover" and e.stage == "bit")
    assert '"reason":"no_majority"' in harness(run, "history", "export").stdout
    assert recovered.detail["losers"] == ["n1"]
    assert recovered.detail["winners"] == ["n2", "n3"]


def test_a_dirty_write_that_was_lost_is_named(runs: Runs) -> None:
    run = runs["partition-dirty"]
    for context in ("async_dirty", "sync_dirty"):
        lost = run.finding("acked_lost", f"kv, {context}")
        assert lost["outcome"] == "fail"
        assert lost["value"] > 0
        assert lost["evidence"]
    assert "acknowledged" in run.stdout


def test_two_releases_ran_in_one_cluster(runs: Runs) -> None:
    nodes = runs["mixed-otp"].json("env.json")["nodes"]
    assert {name: node["otp"] for name, node in nodes.items()} == {"old": "25", "new1": "27", "new2": "27"}


@pytest.mark.usefixtures("a_browser")
def test_the_web_page_shows_the_real_operations(begin: Begin) -> None:
    """Looked at for as long as it takes: this run has no end of its own."""
    run = begin(tiny(timeline=None, duration="900s"), "--web")
    run.wait_for(phase("load"))
    (url,) = (line.split()[-1] for line in run.stdout.splitlines() if "web UI at" in line)

    def shown() -> bool:
        assert run.process.poll() is None, run.stdout + run.stderr
        page = text(dumped(url))
        return "write kv transaction" in page and "node_echo:echo" in page

    wait_until(shown, "Locust's page with what the users do")


def test_the_users_of_a_locustfile_are_in_the_history(runs: Runs) -> None:
    exported = harness(runs["locustfile"], "history", "export").stdout
    assert "otp release" in exported


@pytest.mark.usefixtures("a_browser")
@pytest.mark.parametrize("name", ["partition", "partition-dirty"])
def test_the_report_opens_in_a_browser(runs: Runs, name: str) -> None:
    run = runs[name]
    page = dumped((run.folder / "report.html").as_uri())
    assert run.json("summary.json")["outcome"] in text(page)
    assert page.count("<svg") > 3, "charts are drawn by the page's script"
