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

_PULL_SILENCE = 30.0  # seconds without a word from the registry, after which a pull is given up


def erlang_base(engine: Engine, otp: int, progress: Callable[[str], None]) -> str:
    """The reference of an image with Erlang/OTP to run nodes on. Raises ImageMissing."""
    return _base(engine, otp, f"erlang:{otp}-slim", runtime_base(otp), progress)


def erlang_builder(engine: Engine, otp: int, progress: Callable[[str], None]) -> str:
    """The same OTP with rebar3, to build the node in. Raises ImageMissing."""
    return _base(engine, otp, f"erlang:{otp}", builder_base(otp), progress)


def helper_base(engine: Engine, progress: Callable[[str], None]) -> str:
    """A Debian for the helper image. Raises ImageMissing."""
    return _base(engine, 0, "debian:bookworm-slim", HELPER, progress)


@dataclass(frozen=True, slots=True)
class BaseSource:
    """Whether the bases of an OTP release are here already."""

    otp: int
    local: bool


def base_sources(engine: Engine) -> list[BaseSource]:
    """For each OTP release that can be bootstrapped: whether everything to build its node on is here."""
    return [
        BaseSource(otp, all(_local_base(engine, *names) for names in (
            (f"erlang:{otp}-slim", runtime_base(otp)), (f"erlang:{otp}", builder_base(otp)),
            ("debian:bookworm-slim", HELPER),
        )))
        for otp in OTP_SUITES
    ]  # fmt: skip


def local_id(engine: Engine, reference: str) -> str:
    """The id of an image that is here, else empty."""
    try:
        return str(engine.client.images.get(reference).id)
    except (ImageNotFound, NotFound):
        return ""
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"image {reference}", error) from error


def _base(engine: Engine, otp: int, pullable: str, recipe: Recipe | None, progress: Callable[[str], None]) -> str:
    """A base image: a local one, else pulled, else bootstrapped."""
    if here := _local_base(engine, pullable, recipe):
        return here
    progress(f"pulling {pullable}")
    refusal = pull(engine, pullable)
    if not refusal:
        return pullable
    if recipe is None:
        raise ImageMissing(
            f"base image for OTP {otp}",
            f"{pullable} can't be pulled ({refusal}), and no Debian suite carries OTP {otp}",
            "use otp 25 or 27, or give a base with --base IMAGE",
        )
    progress(f"could not pull {pullable}")
    return bootstrap(engine, recipe, progress)


def _local_base(engine: Engine, pullable: str, recipe: Recipe | None) -> str:
    references = (recipe.reference, pullable) if recipe else (pullable,)
    return next((reference for reference in references if local_id(engine, reference)), "")


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
