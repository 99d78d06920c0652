"""``harness doctor``: what works on this machine, what each missing thing costs, and how to get it.

Each examination is a question with an answer in words and, where something is missing, the shell commands that
mend it on a Debian or Ubuntu machine. ``--fix`` runs them, each shown before it runs; NO_INSTALL=1, another
distribution or missing rights turn them into advice and exit code 4.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from harness.cluster.bases import base_sources
from harness.cluster.engine import Engine, find_engine
from harness.cluster.kernel import probe_kernel
from harness.errors import EngineUnreachable, HarnessError
from harness.metrics import DEFAULT_HOST, DEFAULT_PORT
from harness.scenario.plan import Plan, make_plan
from harness.scenario.schema import Scenario

ENGINE_START_TIMEOUT = 60.0
MIN_FREE = 2 * 1000**3


@dataclass(frozen=True)
class Answer:
    """``ok`` None: works, with a cost worth saying.

    ``mend``: shell commands; without rights they are advice. ``remedy``: what only a person can do.
    """

    subject: str
    ok: bool | None
    said: str
    cost: str = ""
    mend: tuple[str, ...] = ()
    remedy: str = ""


def examine(scenario: Scenario | None, *, fix: bool) -> int:
    """Print every answer; with ``fix`` mend what can be. Returns the exit code: 0, or 4 where no run is possible."""
    broken = False
    for question in _questions(scenario):
        answer = question()
        if answer.ok is not True and answer.mend and fix:
            _show(answer)
            answer = _mended(answer, question)
        _show(answer)
        if answer.mend and not fix:
            _advise(answer)
        broken = broken or answer.ok is False
    return 4 if broken else 0


def _questions(scenario: Scenario | None) -> Iterator[Callable[[], Answer]]:
    yield _engine
    yield _disk
    try:
        engine = find_engine()
    except HarnessError:
        return
    yield lambda: _bootstrap(engine)
    yield lambda: _kernel(engine)
    if scenario is not None:
        yield from _cluster_questions(make_plan(scenario), scenario)


# --- the machine --------------------------------------------------------------------------------------------------


def _engine() -> Answer:
    try:
        engine = find_engine()
    except EngineUnreachable as error:
        told = Answer("engine", False, error.cause, "nothing can run")
        if not error.startable:
            return replace(told, remedy=error.remedy)
        installed = shutil.which("dockerd") is not None
        return replace(told, mend=(_START_ENGINE,) if installed else ("apt-get install -y docker.io", _START_ENGINE))
    return Answer("engine", True, engine.describe())


def _disk() -> Answer:
    free = shutil.disk_usage(Path.cwd()).free
    said = f"{free / 1000**3:.0f} GB free here"
    if free < MIN_FREE:
        return Answer("disk", None, said, "images and long runs want 2 GB")
    return Answer("disk", True, said)


def _bootstrap(engine: Engine) -> Answer:
    """Where base images come from: local, pulled or bootstrapped."""
    missing = [source.otp for source in base_sources(engine) if not source.local]
    if not missing:
        return Answer("base images", True, "local")
    if shutil.which("mmdebstrap"):
        return Answer("base images", True, "pulled, or bootstrapped by mmdebstrap where no registry answers")
    return Answer(
        "base images",
        None,
        "mmdebstrap is not installed",
        "images have to be pulled; without a registry nothing can be built",
        ("apt-get install -y mmdebstrap",),
    )


# Mechanism of the kernel -> the faults that stand on it; partitions have an answer of their own.
_COSTS = {
    "random_loss": "packet loss faults",
    "rate": "bandwidth faults",
    "netem": "delay faults",
    "nfqueue": "faults on chosen packets",
}


def _kernel(engine: Engine) -> Answer:
    try:
        found = probe_kernel(engine, lambda text: click.echo(f"      {text}", err=True))
    except HarnessError as error:
        return Answer("kernel", False, str(error), "no partition can be injected")
    if not found.sets_with_timeout:
        return Answer("kernel", False, found.told, "partitions need nftables sets with timeout (Linux 4.12 or newer)")
    lacking = [cost for name, cost in _COSTS.items() if not getattr(found, name)]
    if lacking:
        return Answer("kernel", None, found.told, f"no {', '.join(lacking)}; partition, kill and pause need none of it")
    return Answer("kernel", True, found.told)


# --- a scenario's cluster -----------------------------------------------------------------------------------------


def _cluster_questions(plan: Plan, scenario: Scenario) -> Iterator[Callable[[], Answer]]:
    names = ", ".join(node.node_name for node in plan.nodes)
    long = any("." in node.node_name.partition("@")[2] for node in plan.nodes)
    given = bool(scenario.cluster.cookie.get_secret_value())
    tables = "; ".join(
        f"{table.name} on {', '.join(table.copies)}{' (majority)' if table.majority else ''}" for table in plan.tables
    )
    yield lambda: Answer("names", True, f"{names} ({'long' if long else 'short'} names)")
    yield lambda: Answer("cookie", True, "given" if given else "random for each run")
    yield lambda: Answer("tables", True, tables or "none declared")
    yield _ports


def _ports() -> Answer:
    """Nodes keep their ports to themselves; only the metrics are served on this machine."""
    said = f"nodes listen inside their containers; {DEFAULT_PORT} serves the metrics"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((DEFAULT_HOST, DEFAULT_PORT))
        except OSError:
            return Answer("ports", None, f"{DEFAULT_PORT} is taken", "metrics are served on the next free port")
    return Answer("ports", True, said)


# --- mending ------------------------------------------------------------------------------------------------------

_START_ENGINE = "systemctl start docker || service docker start || (dockerd >/var/log/dockerd.log 2>&1 &)"


def _mended(answer: Answer, question: Callable[[], Answer]) -> Answer:
    refusal = _why_not()
    if refusal:
        click.echo(f"      not mended: {refusal}", err=True)
        _advise(answer)
        return answer
    if any("apt-get" in command for command in answer.mend):
        _run_shown("apt-get update -qq")
    for command in answer.mend:
        if not _run_shown(command):
            return answer
    deadline = time.monotonic() + ENGINE_START_TIMEOUT
    again = question()
    while again.ok is False and time.monotonic() < deadline:
        time.sleep(0.5)
        again = question()
    return again


def _why_not() -> str:
    if os.environ.get("NO_INSTALL"):
        return "NO_INSTALL is set"
    if shutil.which("apt-get") is None:
        return "only Debian and Ubuntu are mended by themselves"
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        return "neither root nor sudo"
    return ""


def _advise(answer: Answer) -> None:
    click.echo("      to mend it, type (harness doctor --fix does it where it may):", err=True)
    for command in answer.mend:
        click.echo(f"        {_with_rights(command)}", err=True)


def _with_rights(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo sh -c {command!r}"


def _run_shown(command: str) -> bool:
    """Show the command, run it; whether it went well."""
    full = _with_rights(command)
    click.echo(f"    + {full}", err=True)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["sh", "-c", full], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        click.echo(f"      exited with {done.returncode}", err=True)
    return done.returncode == 0


def _show(answer: Answer) -> None:
    mark = {True: "ok", None: "!!", False: "NO"}[answer.ok]
    click.echo(f"{mark:>4}  {answer.subject:<12} {answer.said}" + (f" -> {answer.cost}" if answer.cost else ""))
    if answer.remedy:
        click.echo(f"      {answer.remedy}")
