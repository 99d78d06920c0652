"""The way out of a run: what goes wrong there never costs the verdict, nor the watchdog's second attempt."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from histories import healthy
from plans import three_nodes

from harness import run
from harness.checkers import Verdict, check
from harness.cli import cli
from harness.errors import DiskFull, EnvironmentProblem, Interrupted
from harness.history import History, Mark, read_events
from harness.report import Ending, write_aborted, write_again, write_all
from harness.run import RunOptions
from harness.signals import Interruption
from harness.store import RunDir

GONE = EnvironmentProblem("remove run", "the engine is gone", "harness clean")


class Stage:
    """A run's story without its world; ``told`` keeps in order what happened."""

    def __init__(self, tmp_path: Path, keep: str = "never", **plan: Any) -> None:
        self.told: list[str] = []
        self.rundir = RunDir.create(tmp_path, three_nodes(**plan))
        live: Any = SimpleNamespace(
            on_event=lambda _: None,
            progress=self.told.append,
            kept=lambda _: self.told.append("kept"),
            verdict=self.verdict,
        )
        nothing: Any = None
        options = RunOptions(keep=keep)
        self.story = run._Story(three_nodes(**plan), nothing, options, nothing, self.rundir, live, Interruption())
        self.watchdog: Any = SimpleNamespace(done=lambda: self.told.append("watchdog let go"))
        self.ending: Ending | None = None

    def verdict(self, verdict: Verdict, history: History, ending: Ending) -> None:
        self.ending = ending
        self.told.append(f"verdict {ending.outcome}")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


HISTORIES = {0: lambda built: None, 1: lambda built: built.lose(1), 5: lambda built: built.mark("worker_lost", 20.0)}


def told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int, *ways_out: Exception, ended: BaseException | None = None
) -> run.Result:
    """The story of a run that came to a verdict of this exit code, or ended in an error, with a way out that fails."""
    built = healthy()
    HISTORIES[code](built)
    history = built.build(stage.rundir.path.parent / f"facts-{len(stage.told)}")

    def fail(error: Exception) -> None:
        stage.told.append("way out")
        raise error

    def walk(way_out: ExitStack) -> tuple[Any, Any]:
        for error in ways_out:
            way_out.callback(fail, error)
        if ended is not None:
            raise ended
        return history, check(history)

    monkeypatch.setattr(stage.story, "_walk", walk)
    return stage.story.told()


def artefacts(rundir: RunDir) -> tuple[str, int, int, int, str]:
    """(outcome and exit code of summary.json, failures and errors of junit.xml, badge of report.html)."""
    summary = rundir.read_json("summary.json")
    suite = ElementTree.parse(rundir.path / "junit.xml").getroot()
    page = rundir.path / "report.html"
    badge = re.search(r'class="badge">(\w+)<', page.read_text()) if page.exists() else None
    return (
        summary["outcome"], summary["exit_code"], int(suite.get("failures", "")), int(suite.get("errors", "")),
        badge[1] if badge else "",
    )  # fmt: skip


FULL = OSError(28, "No space left on device")
DEFECT = ValueError("a defect")


@pytest.mark.parametrize(
    ("code", "way_out", "exits", "written"),
    [
        (0, (), 0, ("PASS", 0, 0, 0, "PASS")),
        (1, (), 1, ("FAIL", 1, 1, 0, "FAIL")),
        (5, (), 5, ("INCONCLUSIVE", 5, 0, 1, "INCONCLUSIVE")),
        (0, (GONE, DEFECT), 4, ("ABORTED", 4, 0, 1, "ABORTED")),
        (0, (GONE,), 4, ("ABORTED", 4, 0, 1, "ABORTED")),
        (0, (FULL,), 4, ("ABORTED", 4, 0, 1, "ABORTED")),
        (0, (DEFECT,), 3, ("ABORTED", 3, 0, 1, "ABORTED")),
        (1, (GONE,), 1, ("FAIL", 1, 1, 1, "FAIL")),
        (1, (DEFECT,), 1, ("FAIL", 1, 1, 1, "FAIL")),
        (5, (GONE,), 5, ("INCONCLUSIVE", 5, 0, 2, "INCONCLUSIVE")),
        (5, (DEFECT,), 5, ("INCONCLUSIVE", 5, 0, 2, "INCONCLUSIVE")),
    ],
)
def test_every_artefact_says_what_the_exit_code_says(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int, way_out: tuple[Exception, ...], exits: int, written: Any
) -> None:
    result = told(stage, monkeypatch, code, *way_out)
    assert (result.exit_code, artefacts(stage.rundir)) == (exits, written)
    assert json.loads(json.dumps(result.summary, default=str)) == stage.rundir.read_json("summary.json")
    assert stage.told[-1] == f"verdict {written[0]}"
    assert ("error" in result.summary) == (result.trouble is not None) == bool(way_out)
    again = RunDir.open(stage.rundir.path)
    history = healthy().build(stage.rundir.path.parent / "again")
    write_again(again, history, check(history))
    assert artefacts(again)[:2] == (written[:2] if exits in (3, 4) else ("PASS", 0)), "written again it is no other"


SAYING = EnvironmentProblem("remove run", "the engine refused hunter2")


def test_what_goes_wrong_after_the_verdict_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, secrets=["hunter2"])
    shown = [str(told(stage, monkeypatch, 0, SAYING).summary), str(stage.ending)]
    assert all("the engine refused ********" in text for text in shown)
    written = [file.read_text(errors="replace") for file in stage.rundir.path.rglob("*.*") if file.is_file()]
    assert "hunter2" not in "".join([*shown, *written])


def test_what_goes_wrong_beside_what_ended_the_run_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, secrets=["hunter2"])
    with pytest.raises(EnvironmentProblem, match="the engine is gone"):
        told(stage, monkeypatch, 0, SAYING, ended=GONE)
    assert "the engine refused ********" in "".join(stage.told)
    assert "hunter2" not in "".join(stage.told)


def test_an_artefact_there_is_no_room_for_is_not_left_saying_something_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = stage.rundir.write_text

    def no_pages(name: str, text: str, mode: int = 0o644) -> Path:
        if stage.rundir.read_json("summary.json") and "error" in stage.rundir.read_json("summary.json"):
            raise DiskFull("write run folder", "no space left")
        return kept(name, text, mode)

    monkeypatch.setattr(stage.rundir, "write_text", no_pages)
    result = told(stage, monkeypatch, 0, GONE)
    assert result.exit_code == 4
    assert stage.rundir.read_json("summary.json")["outcome"] == "ABORTED"
    assert not (stage.rundir.path / "junit.xml").exists()
    assert not (stage.rundir.path / "report.html").exists()


@pytest.mark.parametrize("ended", [Interrupted(2), EnvironmentProblem("start cluster", "the engine is gone"), DEFECT])
def test_what_went_wrong_first_is_what_ended_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, ended: BaseException
) -> None:
    with pytest.raises(type(ended)) as raised:
        told(stage, monkeypatch, 0, GONE, ended=ended)
    assert raised.value is ended
    assert stage.told == ["way out", str(GONE)]


def test_without_room_for_a_verdict_there_is_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> dict[str, Any]:
        raise DiskFull("write run folder", "no space left")

    monkeypatch.setattr(run, "write_all", full)
    with pytest.raises(DiskFull):
        told(stage, monkeypatch, 0)
    assert stage.told == []


def test_an_aborted_run_leaves_nothing_of_an_earlier_verdict(stage: Stage) -> None:
    history = healthy().build(stage.rundir.path.parent / "facts")
    write_all(stage.rundir, history, check(history))
    write_aborted(stage.rundir, history.plan, Interrupted(15))
    assert artefacts(stage.rundir) == ("ABORTED", 143, 0, 1, "ABORTED")


@pytest.mark.parametrize("forgotten", [(), ("summary.json", "junit.xml", "report.html")])
@pytest.mark.parametrize("code", [0, None], ids=["judged", "not judged"])
def test_how_a_run_ended_is_told_again_from_its_files(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int | None, forgotten: tuple[str, ...]
) -> None:
    """``check`` and ``report`` repeat it, whatever they find themselves."""
    trouble = EnvironmentProblem("start cluster", "the engine is gone")
    if code is None:
        write_aborted(stage.rundir, three_nodes(), trouble)
    else:
        told(stage, monkeypatch, code, trouble)
    kept = artefacts(stage.rundir)
    assert kept == ("ABORTED", 4, 0, 1, "ABORTED")
    stage.rundir.close()
    for name in forgotten:
        (stage.rundir.path / name).unlink()
    checked = CliRunner().invoke(cli, ["check", str(stage.rundir.path)], standalone_mode=False)
    assert checked.return_value == 4
    assert "start cluster: the engine is gone" in checked.output
    as_json = CliRunner().invoke(cli, ["check", str(stage.rundir.path), "--json"], standalone_mode=False)
    assert json.loads(as_json.output)["error"] == "start cluster: the engine is gone"
    CliRunner().invoke(cli, ["report", str(stage.rundir.path)], standalone_mode=False)
    told_again = artefacts(stage.rundir)
    assert (told_again[:2], told_again[4]) == (kept[:2], kept[4])
    assert "the engine is gone" in (stage.rundir.path / "report.html").read_text()


def test_the_moment_of_the_error_is_journalled_once_and_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Interrupted(15)
    with pytest.raises(Interrupted):
        told(stage, monkeypatch, 0, GONE, ended=first)
    write_aborted(stage.rundir, three_nodes(), first)
    (mark,) = read_events(stage.rundir.events.read_text().splitlines())
    assert isinstance(mark, Mark)
    assert (mark.name, mark.detail["exit_code"], mark.detail["error"]) == ("ended", 143, "interrupted by SIGTERM")


@pytest.mark.parametrize(
    ("ended", "passed", "error", "says"),
    [
        (Interrupted(2), False, None, "ABORTED"),
        (None, True, GONE, "ABORTED"),
        (None, True, None, ""),
        (None, False, GONE, ""),
    ],
)
def test_the_figures_say_it_too(
    stage: Stage, ended: BaseException | None, passed: bool, error: Exception | None, says: str
) -> None:
    said: list[str] = []
    stage.story.ended_by, stage.story.passed = ended, passed
    metrics: Any = SimpleNamespace(set_outcome=said.append)
    stage.story._seal(metrics, error)
    assert "".join(said) == says


def test_the_watchdog_is_let_go_only_when_nothing_is_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise GONE

    monkeypatch.setattr(run, "remove_run", gone)
    with pytest.raises(EnvironmentProblem):
        stage.story._leave_cluster(stage.watchdog)
    stage.story.cluster = SimpleNamespace(save_logs=gone, remove=gone)  # type: ignore[assignment]
    with pytest.raises(EnvironmentProblem):
        stage.story._leave_cluster(stage.watchdog)
    assert stage.told == [str(GONE)]
    monkeypatch.setattr(stage.story.cluster, "remove", lambda: stage.told.append("removed"))
    stage.story._leave_cluster(stage.watchdog)
    assert stage.told[-2:] == ["removed", "watchdog let go"]


def test_a_cluster_that_is_kept_needs_no_watchdog(tmp_path: Path) -> None:
    stage = Stage(tmp_path, keep="always")
    stage.story.cluster = SimpleNamespace(save_logs=lambda _: None)  # type: ignore[assignment]
    stage.story._leave_cluster(stage.watchdog)
    assert stage.told == ["kept", "watchdog let go"]


def test_what_could_not_be_healed_is_said_and_journalled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    healed: Any = SimpleNamespace(heal_all=lambda: ())
    stuck: Any = SimpleNamespace(heal_all=lambda: ("s1", "s3"))
    stage.story._heal(healed)
    assert stage.told == []
    stage.story._heal(stuck)
    assert stage.told == ["faults: not healed, their nodes may still be stopped, frozen or cut off: s1, s3"]
    (mark,) = read_events(stage.rundir.events.read_text().splitlines())
    assert isinstance(mark, Mark)
    assert (mark.name, mark.detail["steps"]) == ("unhealed", ["s1", "s3"])

    def full(_: Any) -> None:
        raise DiskFull("write run folder", "no space left")

    monkeypatch.setattr(stage.rundir, "journal", full)
    stage.story._heal(stuck)
    assert len(stage.told) == 2, "said all the same"
