"""The modules of ``harness_probe``: compiled in our own image, loaded over RPC into nodes that lack them."""

from __future__ import annotations

import base64
import io
import os
import tarfile
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.image import cache_dir, ensure_node_image
from harness.cluster.labels import labels
from harness.cluster.once import ask
from harness.errors import EnvironmentProblem, RemoteError
from harness.etf import Atom, Term, binary_to_term

if TYPE_CHECKING:
    from harness.cluster.bases import Progress
    from harness.cluster.node import Node

Modules: TypeAlias = Mapping[str, bytes]  # object code by the module's name

_OTP = 25  # a module compiled on the oldest release loads in every later one
_FOLDER = "_build/default/rel/node/lib/node-*/ebin"
_TRIES = 3  # each is lost to another who loads at the same moment, if to anything


def probe_modules(engine: Engine, progress: Progress) -> Modules:
    """All modules of the probe; kept in the user's cache by the hash of their image. Raises EnvironmentProblem."""
    tag = ensure_node_image(engine, _OTP, "", progress)
    kept = cache_dir() / f"harness_probe-{tag.rpartition('-')[2]}.tar"
    if kept.is_file():
        return _unpacked(kept.read_bytes())
    packed = _read_from_image(engine, tag)
    modules = _unpacked(packed) if packed else {}
    if "harness_probe" not in modules:
        raise EnvironmentProblem(f"read harness_probe from {tag}", "it is not in the image", "harness image build")
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}.{threading.get_ident()}")
    fresh.write_bytes(packed)
    fresh.replace(kept)
    return modules


def load_modules(node: Node, modules: Modules, timeout: float = 5.0) -> None:
    """See to it that the node runs exactly these: all of them are loaded at once unless they are there.

    Whatever of them was there before is ended. Raises DistError, or EnvironmentProblem when they cannot be loaded.
    """
    wanted = {name: _vsn(code) for name, code in modules.items()}
    prepared: list[Term] = [(Atom(name), _text(f"{name}.beam"), code) for name, code in modules.items()]
    answer: Term = None
    for _ in range(_TRIES):
        there = _version(node, timeout)
        if there == wanted:
            return
        if there is not None:
            node.rpc("harness_probe", "stop", (), timeout)
        for name in modules:  # nothing is loaded beside two older versions
            node.rpc("code", "purge", [Atom(name)], timeout)
        answer = node.rpc("code", "atomic_load", [prepared], timeout)
    if _version(node, timeout) != wanted:
        raise EnvironmentProblem(
            "load harness_probe", repr(answer), "the node must run OTP 25 or newer", node=node.name
        )


def _version(node: Node, timeout: float) -> Term:
    """What ``harness_probe`` says of itself and its parts; None where one of them is missing."""
    try:
        return node.rpc("harness_probe", "version", (), timeout)
    except RemoteError:
        return None


def _vsn(code: bytes) -> Term:
    """The attribute vsn of object code (an IFF file): what ``harness_probe:version`` tells of a module once loaded."""
    at = 12
    while code[at : at + 4] != b"Attr":
        at += 8 + (int.from_bytes(code[at + 4 : at + 8]) + 3 & ~3)
    attributes, _ = binary_to_term(code[at + 8 :])
    return dict(attributes)["vsn"]


def _text(text: str) -> Term:
    """An Erlang string: a list of code points."""
    return [ord(character) for character in text]


# --- the engine's side --------------------------------------------------------------------------------------------


def _read_from_image(engine: Engine, tag: str) -> bytes:
    """The modules of the node's release as a tar archive."""
    try:
        # as text: what a container says passes through its log, which is no place for other bytes
        script = f"cd {_FOLDER} && tar -c harness_*.beam | base64"
        content = ask(engine, tag, ["sh", "-c", script], network_mode="none", labels=labels("image", "helper"))
    except (DockerException, requests.RequestException) as error:
        raise engine_failed(f"read harness_probe from {tag}", error) from error
    return base64.b64decode(content)


def _unpacked(packed: bytes) -> Modules:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name.removesuffix(".beam"): file.read() for name, file in files.items() if file is not None}
