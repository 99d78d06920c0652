"""What ``harness clean`` spares: a run whose folder is locked, whatever its labels say."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.cluster import engine, sweep
from harness.cluster.sweep import FoundRun
from harness.store import RunDir
from tests.plans import three_nodes


def test_a_run_that_holds_its_lock_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDir.create(Path("runs"), three_nodes())
    held = {id: FoundRun(id, owner="dead", networks=["x"]) for id in (run.run_id, "0ff1ce00")}
    monkeypatch.setattr(engine, "find_engine", lambda: None)
    monkeypatch.setattr(sweep, "find_runs", lambda engine: held)
    monkeypatch.setattr(sweep, "remove_run", lambda engine, run_id: held[run_id])

    def cleaned(*arguments: str) -> list[str]:
        done = CliRunner().invoke(cli, ["clean", *arguments])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    skipped, removed = cleaned()
    assert skipped.startswith(f"{run.run_id}: skipped (1 network): its run is still alive; ")
    assert removed == "0ff1ce00: removed 1 network"
    assert cleaned("--run", run.run_id, "--force") == [f"{run.run_id}: removed 1 network"]
    run.close()
    assert cleaned("--run", run.run_id) == [f"{run.run_id}: removed 1 network"]
