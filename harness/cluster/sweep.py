"""Removing what runs made, by its labels alone: after a run, and what a dead one left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import requests
from docker.errors import APIError, DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.labels import OWNER, ROLE, RUN, owner_state
from harness.errors import EnvironmentProblem

_PARALLEL = 16
_PATIENCE = 30.0  # seconds a removal may take before it is given up


@dataclass(slots=True)
class FoundRun:
    """What an engine holds of one run."""

    run_id: str
    owner: Literal["alive", "dead", "unknown"] = "unknown"
    containers: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = (("container", self.containers), ("network", self.networks), ("volume", self.volumes))
        return ", ".join(f"{len(ids)} {what}{'s' * (len(ids) != 1)}" for what, ids in counted if ids)


def find_runs(engine: Engine) -> dict[str, FoundRun]:
    """Every run of which the engine holds something, by its id. Raises EnvironmentProblem."""
    return _find(engine, RUN)


def remove_run(engine: Engine, run_id: str) -> FoundRun:
    """Remove all containers, networks and volumes labelled with this run, in parallel; returns what was removed.

    Repeats until nothing is left, since a start that was interrupted may still be creating. Raises
    EnvironmentProblem when something stays.
    """
    removed = FoundRun(run_id)
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = _find(engine, f"{RUN}={run_id}").get(run_id)
        if found is None:
            return removed
        removed.owner = found.owner
        refusals = _remove(engine, found)
        for kind in ("containers", "networks", "volumes"):
            seen = getattr(removed, kind)
            seen += [id for id in getattr(found, kind) if id not in seen]
        if refusals and time.monotonic() > deadline:
            raise EnvironmentProblem("remove run", f"{run_id}: {refusals[0]}", f"harness clean --run {run_id}")


def clean(
    engine: Engine, *, run_id: str | None = None, force: bool = False,
    live: Callable[[str], bool] = lambda _: False,
) -> Iterator[str]:  # fmt: skip
    """Remove what dead runs left, saying in one line each what was done. With ``run_id`` only of that run.

    A run whose owner lives (its process, or ``live(run_id)``) or lived on another host is skipped unless ``force``.
    """
    runs = find_runs(engine)
    chosen = [runs[run_id]] if run_id in runs else [] if run_id else list(runs.values())
    for run in chosen:
        owner = "alive" if live(run.run_id) else run.owner
        if owner != "dead" and not force:
            why = "its run is still alive" if owner == "alive" else "its owner runs on another host"
            yield f"{run.run_id}: skipped ({run}): {why}; harness clean --run {run.run_id} --force removes it"
            continue
        yield f"{run.run_id}: removed {remove_run(engine, run.run_id)}"
    if not chosen:
        yield f"{run_id}: nothing left" if run_id else "nothing to remove"


def _find(engine: Engine, label: str) -> dict[str, FoundRun]:
    api = engine.client.api
    runs: dict[str, FoundRun] = {}

    def note(kind: str, things: Iterable[dict[str, Any]], key: str) -> None:
        for thing in things:
            told = thing.get("Labels") or {}
            if not told.get(RUN) or not told.get(ROLE):
                continue
            run = runs.setdefault(told[RUN], FoundRun(told[RUN]))
            getattr(run, kind).append(str(thing[key]))
            if OWNER in told and run.owner != "alive":
                run.owner = owner_state(told)

    try:
        note("containers", api.containers(all=True, filters={"label": label}), "Id")
        note("networks", api.networks(filters={"label": label}), "Id")
        note("volumes", (api.volumes(filters={"label": label}) or {}).get("Volumes") or [], "Name")
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("list containers", error) from error
    return runs


def _remove(engine: Engine, run: FoundRun) -> list[str]:
    """One attempt at everything; what the engine refused."""
    api = engine.client.api

    def container(id: str) -> None:
        with contextlib.suppress(APIError):
            api.unpause(id)  # a frozen process does not die under cgroup v1
        api.remove_container(id, force=True, v=True)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        refusals = list(pool.map(partial(_attempt, container), run.containers))
        refusals += pool.map(partial(_attempt, api.remove_network), run.networks)
        refusals += pool.map(partial(_attempt, api.remove_volume), run.volumes)
    return [refusal for refusal in refusals if refusal]


def _attempt(act: Callable[[str], None], id: str) -> str:
    try:
        act(id)
    except APIError as error:
        gone = error.response is not None and error.response.status_code == 404
        return "" if gone else str(error.explanation)
    except (DockerException, requests.RequestException) as error:
        return str(error)
    return ""
