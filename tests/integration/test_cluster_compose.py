"""The commands of the document on Erlang distribution between containers, as people type them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import typed

from harness.cluster.engine import find_engine
from harness.cluster.image import ensure_node_image
from harness.cluster.network import create_network
from harness.cluster.sweep import remove_run

pytestmark = pytest.mark.docker

FOLDER = Path(__file__).parents[2] / "erlang"
RUN = f"compose{os.getpid()}"
CONSOLE = "_build/default/rel/node/bin/node console"


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], cwd=FOLDER, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """``docker build -t NAME .`` in the folder of the compose file."""
    engine = find_engine()
    ensure_node_image(engine, 27, "", print)
    name = f"erldock:{RUN}"
    docker("build", "-t", name, ".")
    yield name
    docker("rmi", name)
    engine.close()


def test_the_minimal_example(image: str) -> None:
    """On a network made by hand; ours has a subnet that collides with nothing."""
    engine = find_engine()
    network = create_network(engine, RUN, "", 3, internal=True)
    try:
        shown = typed(
            ["docker", "run", "-it", "--rm", "--net", network.name, "--label", "harness.role=experiment", image,
             "sh", "-c", "erl -sname snode -setcookie cookie"],
            [("1> ", "{node(), erlang:get_cookie()}.\r"), ("2> ", "q().\r")],
        )  # fmt: skip
    finally:
        remove_run(engine, RUN)
        engine.close()
    assert "{snode@" in shown.replace("'", "")
    assert ",cookie}" in shown


def test_two_nodes_by_compose_and_a_third_that_joins(image: str) -> None:
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    project = [*compose, "-p", RUN, "-f", "docker-compose.yml"]
    environ = {**os.environ, "ERLDOCK_IMAGE": image}
    subprocess.run([*project, "up", "-d", "--no-build"], cwd=FOLDER, env=environ, check=True)
    try:
        shown = typed(
            ["docker", "run", "--net", "erlcompose", "-it", "--rm", "--label", "harness.role=experiment", image,
             "sh", "-c", CONSOLE],
            [("1> ", "net_adm:ping('n1@n1').\r"), ("pong", "timer:sleep(1000), lists:sort(nodes()).\r"),
             ("3> ", "rpc:call('n2@n2', node_app, ready, []).\r"), ("4> ", "q().\r")],
        )  # fmt: skip
    finally:
        subprocess.run([*project, "down", "-t", "2"], cwd=FOLDER, env=environ, check=True)
    assert "[n1@n1,n2@n2]" in shown.replace("'", "")
    assert "\nready" in shown.replace("\r", "")


def test_the_release_runs_on_the_host_s_erlang_too(image: str) -> None:
    """``cd node && rebar3 release && _build/default/rel/node/bin/node console``, in a container with rebar3."""
    shown = typed(
        ["docker", "run", "-it", "--rm", "--net", "none", "--label", "harness.role=experiment",
         "-v", f"{FOLDER / 'node'}:/source:ro", "harness-base:otp27-build",
         "bash", "-c", f"cp -r /source /copy && cd /copy && rm -rf _build && rebar3 release && {CONSOLE}"],
        [("1> ", "node_echo:echo(hello).\r"), ("2> ", "q().\r")], seconds=180.0,
    )  # fmt: skip
    assert "\nhello" in shown.replace("\r", "")
