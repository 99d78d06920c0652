"""Where a run's Locust master listens, and how a worker elsewhere is told."""

from __future__ import annotations

import socket

import pytest

from harness.errors import UsageError
from harness.load import launch
from harness.load.remote import MASTER_PORT, master_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("lab7", ("lab7", MASTER_PORT)),
        ("192.0.2.1", ("192.0.2.1", MASTER_PORT)),
        ("lab7.example:20000", ("lab7.example", 20000)),
        ("[2001:db8::1]:20000", ("2001:db8::1", 20000)),
    ],
)
def test_a_host_alone_means_locust_s_own_port(text: str, address: tuple[str, int]) -> None:
    assert master_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":5557", "lab7:", "lab7:x", "lab7:0", "lab7:65536", "a b", "tcp://lab7:1", "a:1:2"]
)
def test_anything_else_is_a_mistake_of_the_command_line(text: str) -> None:
    with pytest.raises(UsageError, match="is no master"):
        master_address(text)


def test_the_wanted_port_is_taken_where_it_is_free() -> None:
    host = "127.77.0.1"  # nobody else is given its ports
    with socket.socket() as other:
        other.bind((host, 0))
        other.listen()
        port = other.getsockname()[1]
        assert launch._free_port(host, port) != port
    assert launch._free_port(host, port) == port
