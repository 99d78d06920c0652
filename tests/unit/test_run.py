"""The way out of a run: what goes wrong there never costs the verdict, nor the watchdog's second attempt."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plans import three_nodes

from harness import run
from harness.errors import DiskFull, EnvironmentProblem
from harness.history import Mark, read_events
from harness.run import RunOptions
from harness.signals import Interruption
from harness.store import RunDir

GONE = EnvironmentProblem("remove run", "the engine is gone", "harness clean")


class Stage:
    """A run's story without its world; ``told`` keeps in order what happened."""

    def __init__(self, tmp_path: Path, keep: str = "never") -> None:
        self.told: list[str] = []
        self.rundir = RunDir.create(tmp_path, three_nodes())
        live: Any = SimpleNamespace(
            on_event=lambda _: None,
            progress=self.told.append,
            kept=lambda _: self.told.append("kept"),
            verdict=lambda verdict, _: self.told.append(f"verdict {verdict.exit_code}"),
        )
        nothing: Any = None
        options = RunOptions(keep=keep)
        self.story = run._Story(three_nodes(), nothing, options, nothing, self.rundir, live, Interruption())
        self.watchdog: Any = SimpleNamespace(done=lambda: self.told.append("watchdog let go"))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def judged(stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int, *ways_out: Exception) -> run.Result:
    """The story of a run that came to this verdict, with a way out that fails so."""

    def fail(error: Exception) -> None:
        stage.told.append("way out")
        raise error

    def walk(way_out: ExitStack) -> tuple[Any, Any]:
        for error in ways_out:
            way_out.callback(fail, error)
        return None, SimpleNamespace(exit_code=code)

    def write_all(rundir: RunDir, _history: Any, verdict: Any) -> dict[str, Any]:
        stage.told.append("written")
        summary = {"outcome": "as judged", "exit_code": verdict.exit_code}
        rundir.write_json("summary.json", summary)
        return summary

    monkeypatch.setattr(stage.story, "_walk", walk)
    monkeypatch.setattr(run, "write_all", write_all)
    return stage.story.told()


@pytest.mark.parametrize(("code", "exits"), [(0, 4), (1, 1), (5, 5)])
def test_a_verdict_outlives_a_way_out_that_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, code: int, exits: int
) -> None:
    result = judged(stage, monkeypatch, code, GONE, ValueError("a defect"))
    assert stage.told == ["written", "way out", "way out", f"verdict {code}"]
    assert (result.exit_code, result.trouble) == (exits, GONE)
    assert result.summary == {"outcome": "as judged", "exit_code": exits, "error": str(GONE)}
    assert stage.rundir.read_json("summary.json") == result.summary


def test_a_way_out_without_trouble(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    result = judged(stage, monkeypatch, 0)
    assert (result.exit_code, result.trouble) == (0, None)
    assert "error" not in result.summary


def test_a_disk_that_fills_up_on_the_way_out_and_a_defect_there(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    full = judged(stage, monkeypatch, 0, OSError(28, "No space left on device"))
    assert isinstance(full.trouble, DiskFull)
    defect = judged(stage, monkeypatch, 1, ValueError("a defect"))
    assert (defect.exit_code, str(defect.trouble).partition(";")[0]) == (1, "internal error: ValueError: a defect")


def test_without_a_verdict_the_error_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> dict[str, Any]:
        raise DiskFull("write run folder", "no space left")

    monkeypatch.setattr(stage.story, "_walk", lambda _: (None, SimpleNamespace(exit_code=0)))
    monkeypatch.setattr(run, "write_all", full)
    with pytest.raises(DiskFull):
        stage.story.told()
    assert stage.told == []


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
