"""The commands of the document on Erlang distribution between containers, as people type them."""

from __future__ import annotations

import os
import random
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


# The command of README and of the compose file's header, which are one.
JOINS = ("-e", "NODE_PEERS=n1@n1,n2@n2", "-e", "NODE_SCHEMA=none")

MNESIA = "{mnesia:system_info(is_running), lists:sort(rpc:call('n1@n1', mnesia, system_info, [db_nodes]))}."

BOTH = """
(fun Wait(0) -> nodes();
     Wait(N) -> case length(nodes()) of 2 -> lists:sort(nodes()); _ -> timer:sleep(100), Wait(N - 1) end
 end)(600).
"""

READY = """
(fun Wait(0) -> late;
     Wait(N) -> case rpc:call('n2@n2', node_app, ready, []) of
         ready -> ready;
         _ -> timer:sleep(100), Wait(N - 1)
     end
 end)(600).
"""


def own_copy(folder: Path) -> Path:
    """The shipped compose file with a network of its own, so that two suites may run at once."""
    shipped = (FOLDER / "docker-compose.yml").read_text()
    subnet = f"198.19.{random.randrange(128, 255)}.0/24"
    changed = shipped.replace("name: erlcompose", f"name: {RUN}").replace(
        "subnet: 198.19.255.0/24", f"subnet: {subnet}"
    )
    assert RUN in changed
    assert subnet in changed
    copy = folder / "docker-compose.yml"
    copy.write_text(changed)
    return copy


def test_two_nodes_by_compose_and_a_third_that_joins(image: str, tmp_path: Path) -> None:
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    environ = {**os.environ, "ERLDOCK_IMAGE": image}

    def composed(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*compose, "-p", RUN, "--project-directory", str(FOLDER), "-f", str(file), *arguments]
        return subprocess.run(command, cwd=FOLDER, env=environ, text=True, capture_output=True, check=False)

    for _ in range(20):
        file = own_copy(tmp_path)
        up = composed("up", "-d", "--no-build")
        if "overlaps" not in up.stderr:  # else the subnet is another network's
            break
    try:
        assert up.returncode == 0, up.stderr
        shown = typed(
            ["docker", "run", "--net", RUN, "-it", "--rm", "--label", "harness.role=experiment", *JOINS, image,
             "sh", "-c", CONSOLE],
            [*((f"{n}> ", " ".join(asked.split()) + "\r") for n, asked in enumerate((BOTH, READY, MNESIA), 1)),
             ("4> ", "q().\r")],
        )  # fmt: skip
    finally:
        down = composed("down", "-t", "2")
    assert down.returncode == 0, down.stderr
    assert "[n1@n1,n2@n2]" in shown.replace("'", "")
    assert "\nready" in shown.replace("\r", "")
    assert "{no,[n1@n1,n2@n2]}" in shown.replace("'", "")  # who goes away leaves nothing behind


def test_readme_and_the_compose_file_tell_the_same_command() -> None:
    joined = f"-it --rm {' '.join(JOINS)} erldock"
    assert joined in (FOLDER / "docker-compose.yml").read_text()
    assert joined in (FOLDER.parent / "README.md").read_text()


def test_the_release_runs_on_the_host_s_erlang_too(image: str) -> None:
    """``cd node && rebar3 release && _build/default/rel/node/bin/node console``, in a container with rebar3."""
    shown = typed(
        ["docker", "run", "-it", "--rm", "--net", "none", "--label", "harness.role=experiment",
         "-v", f"{FOLDER / 'node'}:/source:ro", "harness-base:otp27-build",
         "bash", "-c", f"cp -r /source /copy && cd /copy && rm -rf _build && rebar3 release && {CONSOLE}"],
        [("1> ", "node_echo:echo(hello).\r"), ("2> ", "q().\r")], seconds=600.0,
    )  # fmt: skip
    assert "\nhello" in shown.replace("\r", "")
