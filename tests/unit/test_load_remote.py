"""``harness worker`` where there is no master: one line and the exit code of the environment, in bounded time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import EnvironmentProblem, UsageError
from harness.load import remote


def worker(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "HARNESS_COOKIE": "c"}
    command = [sys.executable, "-m", "harness", "worker", *arguments]
    return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nobody_listens_there() -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = worker("--master", address, "--wait", "1s")
    assert ended.returncode == 4, ended.stderr
    waiting, told = ended.stderr.splitlines()
    assert waiting == f"waiting up to 1 s for a master at {address} (Connection refused)"
    assert told.startswith(f"harness: worker: no master at {address} within 1 s (Connection refused); ")
    assert "--wait 10m" in told


def test_a_host_without_an_address_is_told_at_once() -> None:
    ended = worker("--master", "no-such-host.invalid:5557", "--wait", "1h")
    assert ended.returncode == 4
    (told,) = ended.stderr.splitlines()
    assert "no address for 'no-such-host.invalid'" in told


def test_somebody_else_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=lambda: other.accept()[0].sendall(b"SSH-2.0-other\r\n"), daemon=True).start()
        with pytest.raises(EnvironmentProblem, match="what listens there is no Locust master"):
            remote.run_worker(f"127.0.0.1:{other.getsockname()[1]}", wait="100ms")


@pytest.mark.parametrize(("locust_ended", "code"), [(0, 0), (1, 4), (255, 4), (4, 4), (130, 130)])
def test_locust_s_own_failures_are_no_verdict(locust_ended: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits is begun as soon as the master listens."""
    monkeypatch.setattr(remote, "locust", lambda *_: [sys.executable, "-c", f"raise SystemExit({locust_ended})"])
    port = free_port()

    def master() -> None:
        with socket.create_server(("127.0.0.1", port)) as listening:
            listening.accept()[0].sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f")

    begun = threading.Timer(0.2, master)
    begun.start()
    assert remote.run_worker(f"127.0.0.1:{port}") == code
    begun.join()


def test_a_duration_needs_its_unit() -> None:
    with pytest.raises(UsageError, match="no duration"):
        remote.run_worker("127.0.0.1:5557", wait="soon")
