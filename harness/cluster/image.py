"""Images: the example node, the helper, and a user's own. Nothing is built or pulled twice.

An image of ours is tagged by a hash of what it is made from, so that an unchanged one costs one question to the
engine. What they are built on: harness.cluster.bases.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from docker.errors import DockerException

from harness.cluster.bases import Progress, erlang_bases, helper_base, local_id, pull
from harness.cluster.engine import Engine, engine_failed
from harness.cluster.sources import build_context, digest, read_sources
from harness.data import data_path
from harness.errors import EnvironmentProblem, ImageMissing


def ensure_node_image(engine: Engine, otp: int, base: str, progress: Progress) -> str:
    """The tag of the example node on this OTP release (or on ``base``); built unless it is there.

    Raises ImageMissing when no base can be had, EnvironmentProblem when the build fails.
    """
    sources = read_sources(data_path("erlang/node"))
    base_id = local_id(engine, base) if base else ""
    tag = f"harness-node:otp{otp}-{digest(sources, str(otp), base, base_id)}"
    if local_id(engine, tag):
        return tag
    with _one_at_a_time("node-image"):
        if local_id(engine, tag):
            return tag
        if base:
            runtime = builder = use_image(engine, base, progress)
        else:
            runtime, builder = erlang_bases(engine, otp, progress)
        progress(f"building {tag} on {runtime}")
        _build(engine, tag, sources, {"BASE": runtime, "BUILDER": builder})
        if not base:
            # Names to type: what erlang/Dockerfile builds on, and the node's latest image.
            _name(engine, runtime, f"harness-base:otp{otp}")
            _name(engine, builder, f"harness-base:otp{otp}-build")
            _name(engine, tag, f"harness-node:otp{otp}")
    return tag


def ensure_helper_image(engine: Engine, progress: Progress) -> str:
    """The tag of the image whose containers own the nodes' network namespaces; built unless it is there."""
    sources = read_sources(data_path("erlang/helper"))
    tag = f"harness-helper:{digest(sources)}"
    if local_id(engine, tag):
        return tag
    with _one_at_a_time("helper-image"):
        if local_id(engine, tag):
            return tag
        base = helper_base(engine, progress)
        progress(f"building {tag} on {base}")
        _build(engine, tag, sources, {"BASE": base})
    return tag


def use_image(engine: Engine, reference: str, progress: Progress = lambda _: None) -> str:
    """An image by its name: local, else pulled. Raises ImageMissing in one line."""
    if local_id(engine, reference):
        return reference
    progress(f"pulling {reference}")
    if refusal := pull(engine, reference):
        raise ImageMissing(
            f"image {reference}",
            f"it is not here and can't be pulled ({refusal})",
            f"build or load it first (docker build -t {reference} .), and check its name with: docker images",
        )
    return reference


def image_facts(engine: Engine, reference: str) -> dict[str, str]:
    """Id and digest of an image, for ``env.json``."""
    try:
        attributes: dict[str, Any] = engine.client.images.get(reference).attrs
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"image {reference}", error) from error
    digests = attributes.get("RepoDigests") or [""]
    return {"reference": reference, "id": str(attributes["Id"]), "digest": str(digests[0])}


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder of the harness, made if need be."""
    folder = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- the engine's side --------------------------------------------------------------------------------------------


def _build(engine: Engine, tag: str, sources: Mapping[str, bytes], arguments: Mapping[str, str]) -> None:
    said: list[str] = []
    try:
        events = engine.client.api.build(
            fileobj=build_context(sources), custom_context=True, tag=tag, buildargs=dict(arguments), rm=True,
            forcerm=True, decode=True, labels={"harness.role": "image"},
        )  # fmt: skip
        for event in events:
            said += str(event.get("stream", "")).strip().splitlines()
            if refusal := event.get("error"):
                last = [line for line in said if not line.startswith(("--->", "Step ", "Removing"))][-3:]
                raise EnvironmentProblem(
                    f"build {tag}", " | ".join([*last, str(refusal).strip()]), "harness doctor checks the images"
                )
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"build {tag}", error) from error


def _name(engine: Engine, reference: str, name: str) -> None:
    repository, _, tag = name.partition(":")
    try:
        engine.client.api.tag(reference, repository, tag, force=True)
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"tag {reference} as {name}", error) from error


@contextlib.contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """Two runs that need the same image build it once."""
    with (cache_dir() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
