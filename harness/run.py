"""The whole story on one page: scenario -> cluster -> baseline -> load, faults, probes -> quiesce -> verdict.

What is acquired is released in reverse order on every exit path: load stops, faults heal, artefacts are written,
containers go. A signal raises ``Interrupted`` in the main thread once; later ones change nothing. If this
process is killed outright, the kernel lets the cuts expire and the watchdog does the rest.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bus import Bus
from harness.checkers import Verdict, check
from harness.cluster.certificates import FOLDER as CERTIFICATES
from harness.cluster.cluster import Cluster
from harness.cluster.engine import Engine, find_engine
from harness.cluster.sweep import remove_run
from harness.environment import describe
from harness.errors import EnvironmentProblem, HarnessError, InternalError, Interrupted
from harness.faults.inject import Injector
from harness.faults.watchdog import Watchdog, start_watchdog
from harness.history import History, JournalEvent, Mark
from harness.history_files import load_history, write_final
from harness.load.launch import LoadRun
from harness.metrics import Metrics
from harness.probes import Probes, baseline, quiesce, read_final_state, run_setup
from harness.report import Ending, write_aborted, write_all, write_troubled
from harness.report.ending import ABORTED
from harness.report.terminal import Live
from harness.scenario.plan import Plan, make_plan
from harness.scenario.render import resolved_yaml
from harness.scenario.schema import Scenario
from harness.scenario.secrets import masked_text
from harness.signals import Interruption
from harness.store import NO_SPACE, RunDir, writing_failed

LOCAL_WORKERS_TIMEOUT = 60.0  # s until all workers and users are there
REMOTE_WORKERS_TIMEOUT = 600.0  # people start them by hand


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to a scenario."""

    out: Path = Path("runs")
    web: bool = False
    metrics: tuple[str, int] = ("127.0.0.1", 9646)
    keep: str = "never"
    expose: str = ""
    remote_workers: int = 0
    quiet: bool = False
    json: bool = False


@dataclass(frozen=True)
class Result:
    """How a run ended, after everything is written. ``trouble``: what ended it, or went wrong when it was judged."""

    exit_code: int
    summary: dict[str, Any]
    folder: Path
    trouble: HarnessError | Interrupted | None = None


def run(scenario: Scenario, source: Path, options: RunOptions, interruption: Interruption) -> Result:
    """Run one scenario and judge it. Raises HarnessError or Interrupted while there is no folder for it yet.

    A signal that came too late to change that is in ``interruption.late`` afterwards.
    """
    with interruption:
        plan = make_plan(scenario, source=str(source))
        engine = find_engine()
        rundir = RunDir.create(options.out, plan)
        live = Live(plan, rundir, quiet=options.quiet, to_stderr=options.json)
        try:
            with live:
                return _Story(plan, scenario, options, engine, rundir, live, interruption).told()
        except (Exception, Interrupted) as error:
            told = error if isinstance(error, Interrupted) else _meant(error, rundir)
            return Result(told.exit_code, write_aborted(rundir, plan, told), rundir.path, told)
        finally:
            rundir.close()


def _meant(error: Exception, rundir: RunDir) -> HarnessError:
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return writing_failed(rundir.path, error)
    return error if isinstance(error, HarnessError) else InternalError(error)


def _worker_command(master: str, cluster: Cluster) -> str:
    """What to type elsewhere."""
    command = f"harness worker --master {master}"
    node = next(iter(cluster.nodes))
    copy = f" --tls FOLDER (docker cp harness-{cluster.run_id}-{node}:{CERTIFICATES} FOLDER)"
    return command + copy if cluster.tls else command


class _Story:
    """One run's parts. ``told`` is the whole way down; ``way_out`` is the way back, whatever happens."""

    def __init__(
        self,
        plan: Plan,
        scenario: Scenario,
        options: RunOptions,
        engine: Engine,
        rundir: RunDir,
        live: Live,
        interruption: Interruption,
    ) -> None:
        self.plan = plan
        self.scenario = scenario
        self.options = options
        self.engine = engine
        self.rundir = rundir
        self.live = live
        self.interruption = interruption
        self.bus = Bus()
        self.bus.subscribe(live.on_event)
        self.cluster: Cluster | None = None
        self.passed = False
        self.ended_by: BaseException | None = None  # without a verdict

    def told(self) -> Result:
        """Down and back. What went wrong first is what ended the run; what fails on the way out is told beside it."""
        judged: tuple[History, Verdict] | None = None
        summary: dict[str, Any] = {}
        trouble: HarnessError | None = None
        try:
            with ExitStack() as way_out:
                try:
                    judged = self._walk(way_out)
                    self.interruption.hold()
                    summary = write_all(self.rundir, *judged)
                except BaseException as error:
                    self.interruption.hold()
                    judged, self.ended_by = None, error
                    self._journal_end(error)
        except Exception as error:
            trouble = _meant(error, self.rundir)
        if judged is None:
            assert self.ended_by is not None
            if trouble is not None:
                self.live.progress(masked_text(str(trouble), self.plan.secrets))
            raise self.ended_by
        history, verdict = judged
        ending = Ending.of(verdict, trouble).masked(self.plan.secrets)
        if trouble is not None:
            summary = write_troubled(self.rundir, history, verdict, ending)
        self.live.verdict(verdict, history, ending)
        return Result(ending.exit_code, summary, self.rundir.path, trouble)

    def _walk(self, way_out: ExitStack) -> tuple[History, Verdict]:
        plan, rundir = self.plan, self.rundir
        rundir.write_text("scenario.resolved.yml", resolved_yaml(self.scenario))
        rundir.write_json("env.json", describe(self.engine, None, plan))
        way_out.callback(self.bus.close)
        metrics = Metrics(plan, rundir)
        way_out.callback(metrics.finish)  # after the removal: the verdict can be scraped until the run has ended
        way_out.push(lambda _kind, error, _trace: self._seal(metrics, error))
        self.bus.subscribe(metrics.on_event)
        self.live.serving(*metrics.serve(*self.options.metrics), wanted=self.options.metrics[1])
        watchdog = start_watchdog(rundir, self.engine)
        way_out.callback(self._leave_cluster, watchdog)

        self._phase("starting")
        cookie = self.scenario.cluster.cookie.get_secret_value()
        cluster = self.cluster = Cluster.start(
            plan, cookie, rundir.run_id, self.engine, self.live.progress, expose=self.options.expose
        )
        rundir.write_json("env.json", describe(self.engine, cluster, plan))
        metrics.set_otp(cluster.otp)
        self.live.follow(metrics)

        self._phase("baseline")
        probes = Probes(cluster, plan, rundir, self.journal, self.bus, metrics)
        way_out.callback(probes.stop)
        probes.install()
        run_setup(cluster, plan)
        baseline(cluster, plan)
        probes.start()

        injector = Injector(plan, cluster, self.journal, self.bus, rundir)
        way_out.callback(self._heal, injector)
        injector.prepare()
        load = LoadRun(
            plan,
            cluster.load_targets(),
            cluster.cookie,
            rundir,
            web=self.options.web,
            on_snapshot=metrics.ingest,
            on_event=self.journal,
            remote_workers=self.options.remote_workers,
            bind=self.options.expose or "127.0.0.1",
            tls=cluster.tls,
        )
        way_out.callback(load.stop, 1.0)  # stopped already, or the run is given up: calls in flight matter no more
        self._phase("ramping")
        load.start()
        if load.web_url:
            self.live.web(load.web_url)
        if self.options.remote_workers:
            self.live.progress(f"waiting for {self.options.remote_workers} x {_worker_command(load.master, cluster)}")
        began = load.wait_full_load(REMOTE_WORKERS_TIMEOUT if self.options.remote_workers else LOCAL_WORKERS_TIMEOUT)

        self._phase("load")
        injector.start(began)
        if trouble := load.wait_trouble(plan.duration - (time.monotonic_ns() - began) / 1e9):
            raise trouble

        self._phase("stopping")
        load.stop()
        if not injector.stop():
            self._tell_unhealed("not all have ended in time", injector.standing())
        if injector.trouble:
            raise injector.trouble  # not all that was done to the cluster is in the journal
        self._phase("quiesce")
        quiesce(cluster, plan, self.journal, probes.backlog)
        write_final(rundir, read_final_state(cluster, plan, injector.discarded))
        probes.stop()
        rundir.write_json("load-summary.json", metrics.load_summary())

        self._phase("judging")
        history = load_history(rundir)
        verdict = check(history)
        metrics.set_verdict(verdict.outcome, verdict.findings)
        if history.final is not None:
            metrics.set_final(history.final)
        self.passed = verdict.exit_code == 0
        return history, verdict

    def _seal(self, metrics: Metrics, error: BaseException | None) -> None:
        """What the figures say of the run is what its other artefacts say."""
        if self.ended_by is not None or (error is not None and self.passed):
            metrics.set_outcome(ABORTED)

    def journal(self, event: JournalEvent) -> None:
        """On disk first, then to whoever listens."""
        self.rundir.journal(event)
        self.bus.publish(event)

    def _journal_end(self, error: BaseException) -> None:
        """At once: what is still to come on the way out is no part of the load, and may be killed."""
        told = _meant(error, self.rundir) if isinstance(error, Exception) else error
        if isinstance(told, HarnessError | Interrupted):
            with suppress(EnvironmentProblem):  # no room: write_aborted makes some and tries again
                self.rundir.journal_end(Ending.without_verdict(told).journalled())

    def _phase(self, name: str) -> None:
        self.journal(Mark(time.monotonic_ns(), "phase", {"phase": name}))

    def _heal(self, injector: Injector) -> None:
        if left := injector.heal_all():
            with suppress(HarnessError):  # a journal that takes no more ends nothing on the way out
                self._tell_unhealed("not healed, their nodes may still be stopped, frozen or cut off", left)

    def _tell_unhealed(self, problem: str, steps: tuple[str, ...]) -> None:
        self.live.progress(f"faults: {problem}" + (f": {', '.join(steps)}" if steps else ""))
        self.journal(Mark(time.monotonic_ns(), "unhealed", {"problem": problem, "steps": list(steps)}))

    def _leave_cluster(self, watchdog: Watchdog) -> None:
        """Logs always; containers unless they are to be kept. Without a cluster object, whatever bears our label.

        Where the removal fails the watchdog is not let go: it tries again as soon as this process has ended.
        """
        if self.cluster is None:
            remove_run(self.engine, self.rundir.run_id)
            watchdog.done()
            return
        try:
            self.cluster.save_logs(self.rundir.logs)
        except EnvironmentProblem as error:  # a node's container is gone; a verdict stands without its log
            self.live.progress(str(error))
        finally:
            if self.options.keep == "always" or (self.options.keep == "on-failure" and not self.passed):
                self.live.kept(self.cluster)
            else:
                self.cluster.remove()
            watchdog.done()
