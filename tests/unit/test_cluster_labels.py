"""Who owns a labelled thing, and whether that one still lives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.cluster.labels import HOST, NODE, OWNER, ROLE, RUN, labels, owner_state, this_host
from harness.store import process_start


def test_labels_name_run_role_node_and_owner() -> None:
    told = labels("r1", "node", "n1")
    assert (told[RUN], told[ROLE], told[NODE]) == ("r1", "node", "n1")
    assert NODE not in labels("r1", "network")


def test_this_process_is_alive() -> None:
    assert owner_state(labels("r1", "node")) == "alive"


def test_an_ended_process_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {HOST: this_host(), OWNER: f"{process.pid}:{process_start(process.pid)}"}
    assert owner_state(owner) == "alive"
    process.communicate(b"\n")
    assert owner_state(owner) == "dead"


def test_a_reused_pid_is_not_the_owner() -> None:
    told = labels("r1", "node")
    assert owner_state({**told, OWNER: told[OWNER].partition(":")[0] + ":1"}) == "dead"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("elsewhere/{boot}/{pids}", "unknown"),
        ("{name}/00000000/{pids}", "dead"),
        ("{name}/{boot}/1", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_pid_means_something_in_its_own_place_only(host: str, expected: str) -> None:
    name, boot, pids = this_host().split("/")
    told = {**labels("r1", "node"), HOST: host.format(name=name, boot=boot, pids=pids)}
    assert owner_state(told) == expected
