"""Base images made from a Debian suite, for machines that can't or won't pull: mmdebstrap into ``docker import``.

mmdebstrap takes the machine's usual mirror; the suite is the one that carries the wanted OTP release.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.errors import ImageMissing

REPOSITORY = "harness-base"
INSTALL = "apt-get install mmdebstrap debian-archive-keyring"

_ERLANG = (
    "erlang-base", "erlang-mnesia", "erlang-runtime-tools", "erlang-ssl", "erlang-crypto", "erlang-tools",
)  # fmt: skip
_BUILDER = (*_ERLANG, "erlang-dev", "erlang-nox", "rebar3")
_HELPER = ("nftables", "iproute2", "iptables", "socat")
OTP_SUITES = {25: "bookworm", 27: "trixie"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A base image: what it is tagged, which Debian suite it comes from, which packages it holds."""

    tag: str
    suite: str
    packages: tuple[str, ...]

    @property
    def reference(self) -> str:
        return f"{REPOSITORY}:{self.tag}"


HELPER = Recipe("helper", "bookworm", _HELPER)


def runtime_base(otp: int) -> Recipe | None:
    """What a node runs on; None where no Debian suite carries that OTP release."""
    return Recipe(f"otp{otp}", OTP_SUITES[otp], _ERLANG) if otp in OTP_SUITES else None


def builder_base(otp: int) -> Recipe | None:
    """The same with rebar3 and the build tools."""
    return Recipe(f"otp{otp}-build", OTP_SUITES[otp], _BUILDER) if otp in OTP_SUITES else None


def bootstrap(engine: Engine, recipe: Recipe, progress: Callable[[str], None]) -> str:
    """Make the image of a recipe (some 30 s and a download of 50 to 250 MB). Raises ImageMissing."""
    if shutil.which("mmdebstrap") is None:
        raise ImageMissing(
            f"base image {recipe.reference}", "it can't be pulled, and mmdebstrap is not installed", INSTALL
        )
    progress(f"bootstrapping {recipe.reference} from Debian {recipe.suite} with mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="harness-base-") as folder:
        tar = os.path.join(folder, "root.tar")  # noqa: PTH118
        done = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(recipe.packages)}",
             *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "locale", "doc")),
             recipe.suite, tar],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
            raise ImageMissing(
                f"base image {recipe.reference}",
                f"mmdebstrap failed: {(said or done.stderr.splitlines() or ['no message'])[-1]}",
                f"{INSTALL}, see that Debian {recipe.suite} can be downloaded, or give another base with --base",
            )
        try:
            with open(tar, "rb") as file:
                # A generator, not the file: the SDK announces chunks, and a file would be sent unchunked.
                engine.client.api.import_image_from_stream(
                    iter(lambda: file.read(1 << 20), b""), repository=REPOSITORY, tag=recipe.tag,
                    changes=["LABEL harness.role=image"],
                )  # fmt: skip
        except (DockerException, requests.RequestException) as error:
            raise engine_failed(f"import {recipe.reference}", error) from error
    return recipe.reference
