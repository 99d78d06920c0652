"""Words a person types -> one call; a Verdict -> an exit code. No logic of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness import __version__
from harness.errors import HarnessError, InternalError, UsageError
from harness.stderr import say_error

RUNS = Path("runs")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main() -> None:
    """Entry point: every error becomes one line on stderr and an exit code, never a traceback."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        say_error(error)
        sys.exit(error.exit_code)
    except Exception as error:
        told = InternalError(error)
        say_error(told)
        sys.exit(told.exit_code)
    sys.exit(code or 0)


class _Words(click.Group):
    """All verbs. Who closes the pipe early (``| head``) has seen enough: that is no failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


@click.group(cls=_Words, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Chaos and load testing for Erlang clusters in Docker.

    One YAML file starts a cluster, drives RPC and Mnesia load, breaks things, and ends with a verdict.

    \b
    Exit codes: 0 PASS · 1 FAIL · 2 usage or invalid scenario · 3 internal error
                4 environment · 5 INCONCLUSIVE · 130, 143 interrupted
    """


# --- run ----------------------------------------------------------------------------------------------------------


def _overrides(command: _Command) -> _Command:
    command = click.option("--seed", type=int, help="Overrides the scenario's seed.")(command)
    return click.option(
        "--set", "settings", multiple=True, metavar="PATH=VALUE", help="Overrides a key: --set load.users=50."
    )(command)


def _load(files: tuple[str, ...], settings: tuple[str, ...] = (), seed: int | None = None) -> Any:
    """(path, scenario) of each, or one error with the mistakes of all of them."""
    from harness.scenario.load import load_scenarios

    return load_scenarios(files, os.environ, settings if seed is None else (*settings, f"seed={seed}"))


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_overrides
@click.option("--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where run folders go.")
@click.option("--web", is_flag=True, help="Serve Locust's web UI on loopback while the run lasts.")
@click.option("--metrics", default="127.0.0.1:9646", show_default=True, metavar="HOST:PORT",
              help="Where /metrics is served while the run lasts; the next free port if it is taken.")  # fmt: skip
@click.option("--keep", type=click.Choice(["always", "on-failure", "never"]), default="never", show_default=True,
              help="Keep the cluster's containers when the run has ended.")  # fmt: skip
@click.option("--expose", default="", metavar="ADDRESS",
              help="Publish the nodes' ports on this address of the engine's host, for workers elsewhere.")  # fmt: skip
@click.option("--remote-workers", type=click.IntRange(0), default=0, metavar="N",
              help="Wait for N `harness worker` elsewhere, beside the local ones; needs --expose.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, everything else on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Only the verdict.")
def run(
    files: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int | None,
    out: Path,
    web: bool,
    metrics: str,
    keep: str,
    expose: str,
    remote_workers: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run scenarios, judge them, exit with the verdict. FILE: a path or a shipped name (partition.yml)."""
    from harness.metrics import address
    from harness.run import RunOptions
    from harness.suite import run_all

    if remote_workers and not expose:
        raise UsageError(
            "run", "--remote-workers needs --expose ADDRESS", "name an address of this host they can reach"
        )
    options = RunOptions(
        out=out, web=web, metrics=address(metrics), keep=keep, expose=expose, remote_workers=remote_workers,
        quiet=quiet, json=as_json,
    )  # fmt: skip
    code, summaries = run_all(_load(files, settings, seed), options, say_error)
    if as_json:
        click.echo(json.dumps(summaries[0] if len(summaries) == 1 else {"runs": summaries}, default=str))
    return code


# --- scenarios, without Docker ------------------------------------------------------------------------------------


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@_overrides
def validate(files: tuple[str, ...], settings: tuple[str, ...], seed: int | None) -> None:
    """Find every mistake in scenarios, without Docker."""
    for path, scenario in _load(files, settings, seed):
        click.echo(f"{path}: {scenario.name} is valid")


@cli.command()
@click.argument("file")
@_overrides
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def plan(file: str, settings: tuple[str, ...], seed: int | None, as_json: bool) -> None:
    """Print what a run would do and when, without Docker."""
    from harness.scenario.plan import make_plan
    from harness.scenario.render import render_plan

    ((path, scenario),) = _load((file,), settings, seed)
    made = make_plan(scenario, source=str(path))
    click.echo(made.model_dump_json(indent=1) if as_json else render_plan(made))


@cli.command()
def schema() -> None:
    """The scenario format as JSON Schema."""
    from harness.scenario.render import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


# --- from a run's files -------------------------------------------------------------------------------------------


def _run_dir(run: str | None) -> Any:
    from harness.store import RunDir

    return RunDir.find(run, RUNS)


def _judged(run: str | None) -> Any:
    """(folder, history, verdict) of a run, from its files."""
    from harness.checkers import check
    from harness.history_files import load_history

    rundir = _run_dir(run)
    history = load_history(rundir)
    return rundir, history, check(history)


@cli.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
def check(run: str | None, as_json: bool) -> int:
    """Judge a run again, from its files alone. RUN: its folder or the id at its end; else runs/latest."""
    from harness.report import Ending
    from harness.report.terminal import verdict_text

    rundir, history, verdict = _judged(run)
    ending = Ending.again(rundir, history, verdict)
    as_text = verdict_text(verdict, history, ending=ending)
    click.echo(json.dumps({**verdict.to_json(), **ending.to_json()}) if as_json else as_text)
    return ending.exit_code


@cli.command()
@click.argument("run", required=False)
def report(run: str | None) -> None:
    """Write a run's report.html, summary.json, junit.xml again. RUN: its folder or its id; else runs/latest."""
    from harness.report import write_again

    rundir, history, verdict = _judged(run)
    write_again(rundir, history, verdict)
    click.echo(rundir.path / "report.html")


@cli.group()
def history() -> None:
    """What a run recorded."""


@history.command("export")
@click.argument("run", required=False)
@click.option("--format", "form", type=click.Choice(["jsonl", "edn"]), default="jsonl", show_default=True)
def history_export(run: str | None, form: str) -> None:
    """Print the history of a run as JSON lines or EDN. RUN: its folder or its id; else runs/latest."""
    from harness.history_files import export

    for line in export(_run_dir(run), form):
        click.echo(line)


# --- the ground ---------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("file", required=False)
@click.option("--fix", is_flag=True, help="Install and start what is missing, showing each command first.")
def doctor(file: str | None, fix: bool) -> int:
    """Say what works on this machine and what is missing. FILE: a scenario, for what it needs as well."""
    from harness.doctor import examine

    return examine(_load((file,))[0][1] if file else None, fix=fix)


@cli.command()
@click.option("--run", "run_id", metavar="ID", help="Only this run: the id at the end of its folder's name.")
@click.option("--force", is_flag=True, help="Even when the run is still alive.")
def clean(run_id: str | None, force: bool) -> None:
    """Remove containers and networks that dead runs left. A live run is never touched without --force."""
    from harness.cluster.engine import find_engine
    from harness.cluster.sweep import clean as sweep
    from harness.store import RunDir

    for line in sweep(find_engine(), run_id=run_id, force=force, live=lambda run: RunDir.lives(run, RUNS)):
        click.echo(line)


@cli.group()
def image() -> None:
    """Images of the example node and the helper."""


@image.command("build")
@click.option("--otp", type=click.Choice(["25", "26", "27", "28"]), default="27", show_default=True)
@click.option("--base", default="", metavar="IMAGE", help="Build on this image instead of the default base.")
def image_build(otp: str, base: str) -> None:
    """Build the images a run uses; says nothing new when nothing changed."""
    from harness.cluster.engine import find_engine
    from harness.cluster.image import ensure_helper_image, ensure_node_image

    engine = find_engine()
    progress = lambda text: click.echo(text, err=True)  # noqa: E731
    click.echo(ensure_helper_image(engine, progress))
    click.echo(ensure_node_image(engine, int(otp), base, progress))


@cli.command()
@click.argument("run", required=False)
def console(run: str | None) -> None:
    """Join an Erlang shell to a kept cluster. RUN: its folder or its id; it ran with `--keep always`.

    The shell is the node's own: Ctrl-G then q, or Ctrl-C twice, leaves it; q() would stop the node.
    """
    from harness.cluster.console import console_command
    from harness.cluster.engine import find_engine

    command = console_command(find_engine(), _run_dir(run).run_id)
    os.execvp(command[0], command)


@cli.command()
@click.option(
    "--master", required=True, metavar="HOST[:PORT]", help="The Locust master of a run; port 5557 if not told."
)
@click.option("--tls", default="", metavar="FOLDER", help="ca.pem, cert.pem and key.pem for a cluster with TLS.")
@click.option(
    "--wait", default="1m", show_default=True, metavar="DURATION", help="How long the master may take to be there."
)
def worker(master: str, tls: str, wait: str) -> int:
    """Drive load from here for a run elsewhere. The cluster's cookie has to stand in HARNESS_COOKIE."""
    from harness.load.remote import run_worker

    return run_worker(master, tls=tls, wait=wait)
