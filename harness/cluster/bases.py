"""What our images are built on: a local image, else pulled, else bootstrapped from Debian."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import requests
from docker.errors import DockerException, ImageNotFound, NotFound

from harness.cluster.bootstrap import HELPER, OTP_SUITES, Recipe, bootstrap, builder_base, runtime_base
from harness.cluster.engine import Engine, engine_failed, engine_said
from harness.errors import ImageMissing

Progress = Callable[[str], None]

_PULL_SILENCE = 30.0  # seconds without a word from the registry, after which a pull is given up


@dataclass(frozen=True, slots=True)
class _Base:
    """Two ways to the same base: an image of a registry, and a recipe."""

    pullable: str
    recipe: Recipe | None


def erlang_bases(engine: Engine, otp: int, progress: Progress) -> tuple[str, str]:
    """(an image with Erlang/OTP to run nodes on, the same OTP with rebar3 to build in). Raises ImageMissing.

    Both come from the same source: a release refuses to run on another patch level than it was built on.
    """
    runtime, builder = _obtain(engine, _erlang(otp), progress, f"OTP {otp}")
    return runtime, builder


def helper_base(engine: Engine, progress: Progress) -> str:
    """A Debian for the helper image. Raises ImageMissing."""
    return _obtain(engine, _HELPER, progress, "the helper")[0]


@dataclass(frozen=True, slots=True)
class BaseSource:
    """Whether the bases of an OTP release are here already."""

    otp: int
    local: bool


def base_sources(engine: Engine) -> list[BaseSource]:
    """For each OTP release that can be bootstrapped: whether everything to build its node on is here."""
    helper = bool(_local(engine, _HELPER))
    return [BaseSource(otp, helper and bool(_local(engine, _erlang(otp)))) for otp in OTP_SUITES]


def _erlang(otp: int) -> tuple[_Base, ...]:
    return _Base(f"erlang:{otp}-slim", runtime_base(otp)), _Base(f"erlang:{otp}", builder_base(otp))


_HELPER = (_Base("debian:bookworm-slim", HELPER),)


def _obtain(engine: Engine, bases: tuple[_Base, ...], progress: Progress, purpose: str) -> list[str]:
    """References of bases that fit together: all local, else all pulled, else all bootstrapped."""
    if here := _local(engine, bases):
        return here
    for base in bases:
        progress(f"pulling {base.pullable}")
        if refusal := pull(engine, base.pullable):
            break
    else:
        return [base.pullable for base in bases]
    recipes = [base.recipe for base in bases if base.recipe]
    if not recipes:
        raise ImageMissing(
            f"base image for {purpose}",
            f"{base.pullable} can't be pulled ({refusal}), and no Debian suite carries {purpose}",
            "use otp 25 or 27, or give a base with --base IMAGE",
        )
    progress(f"could not pull {base.pullable}")
    for recipe in recipes:
        if not local_id(engine, recipe.reference):
            bootstrap(engine, recipe, progress)
    return [recipe.reference for recipe in recipes]


def _local(engine: Engine, bases: tuple[_Base, ...]) -> list[str]:
    """References when all of them are here from one source, else nothing."""
    pulled = [base.pullable for base in bases]
    made = [base.recipe.reference if base.recipe else "" for base in bases]
    for references in (pulled, made):
        if all(reference and local_id(engine, reference) for reference in references):
            return references
    return []


def local_id(engine: Engine, reference: str) -> str:
    """The id of an image that is here, else empty."""
    try:
        return str(engine.client.images.get(reference).id)
    except (ImageNotFound, NotFound):
        return ""
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"image {reference}", error) from error


def pull(engine: Engine, reference: str) -> str:
    """Pull an image; empty, or why not. A registry that says nothing for a while is given up."""
    repository, _, tag = reference.rpartition(":") if ":" in reference.rpartition("/")[2] else (reference, "", "")
    outcome: list[str] = []
    heard = threading.Event()

    def read() -> None:
        refusal = ""
        try:
            for event in engine.client.api.pull(repository, tag or "latest", stream=True, decode=True):
                heard.set()
                refusal = str(event.get("error", refusal))
        except (DockerException, requests.RequestException) as error:
            refusal = engine_said(error)
        outcome.append(refusal)
        heard.set()

    worker = threading.Thread(target=read, name="pull", daemon=True)
    worker.start()
    while worker.is_alive():
        if not heard.wait(_PULL_SILENCE):
            return f"no word from the registry in {_PULL_SILENCE:g} s"
        heard.clear()
        worker.join(0.2)
    return " ".join(outcome[0].split())
