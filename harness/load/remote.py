"""A Locust worker of a run elsewhere: what ``harness worker`` is."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from typing import Final, cast

from harness.dist.tls import Credentials
from harness.errors import EnvironmentProblem, UsageError
from harness.load.children import child_environment, locust
from harness.scenario.units import duration

MASTER_PORT: Final = 5557  # Locust's own, where a worker looks that was given a host alone
WAIT: Final = "1m"  # for a master to be there: who starts both may well start the worker first

_TRY: Final = 5.0  # seconds for one connection
_PAUSE: Final = 0.5  # seconds between two
_GREETING: Final = b"\xff"  # the first byte of ZeroMQ, which whoever listens says unasked
_LOCUST_FAILED: Final = (1, 2, 255)  # a master that went silent, an error of Locust's own: neither is a verdict of ours


def run_worker(master: str, cookie: str = "", tls: str = "", wait: str = WAIT) -> int:
    """Be a Locust worker of a run elsewhere, until its master ends it; returns the exit code.

    ``master`` is HOST:PORT as the run printed it, or HOST where the run has Locust's own port. Operations, targets,
    seeds and a locustfile come from the master; the cookie from here or the environment (HARNESS_COOKIE), and so the
    folder of certificates for a cluster with TLS (HARNESS_TLS). History is sent to the master every second. ``wait``
    is how long the master may take to be there. Raises UsageError, or EnvironmentProblem where none is.
    """
    host, port = master_address(master)
    patience = _seconds(wait)
    environment = child_environment()
    if cookie:
        environment["HARNESS_COOKIE"] = cookie
    if folder := tls or environment.get("HARNESS_TLS", ""):
        environment["HARNESS_TLS"] = Credentials.given(folder).told()  # a mistake is told here, not in Locust's log
    _await_master(host, port, patience)  # Locust's own patience is five minutes, and its exit code then that of a FAIL
    command = locust("-f", "-", "--worker", f"--master-host={host}", f"--master-port={port}", "--exit-code-on-error=0")
    with tempfile.TemporaryDirectory(prefix="harness-worker-") as folder:  # locustfiles, the segment until it is sent
        code = subprocess.call(command, env=environment | {"TMPDIR": folder})
    return EnvironmentProblem.exit_code if code in _LOCUST_FAILED else code


def master_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``HOST`` -> both. Raises UsageError."""
    found = re.fullmatch(r"([^\s:/]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", text)
    port = int(found[2] or MASTER_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UsageError("worker", f"{text!r} is no master", "write --master HOST or --master HOST:PORT")
    return found[1].strip("[]"), port


def _seconds(text: str) -> float:
    try:
        return cast(float, duration(text))
    except ValueError as error:
        raise UsageError("worker", str(error), "write --wait 1m") from error


def _await_master(host: str, port: int, wait: float) -> None:
    """Until a Locust master listens there. Raises EnvironmentProblem: at once where the host has no address."""
    deadline, told = time.monotonic() + wait, False
    while cause := _why_no_master(host, port):
        if time.monotonic() + _PAUSE > deadline:
            remedy = "type the command that `harness run --remote-workers` prints, or wait longer: --wait 10m"
            raise EnvironmentProblem("worker", f"no master at {host}:{port} within {wait:g} s ({cause})", remedy)
        if not told:
            print(f"waiting up to {wait:g} s for a master at {host}:{port} ({cause})", file=sys.stderr, flush=True)
            told = True
        time.sleep(_PAUSE)


def _why_no_master(host: str, port: int) -> str:
    """Empty where one listens."""
    try:
        with socket.create_connection((host, port), _TRY) as probe:
            return "" if probe.recv(1) == _GREETING else "what listens there is no Locust master"
    except socket.gaierror as error:
        remedy = "name the host that `harness run --remote-workers` prints"
        raise EnvironmentProblem("worker", f"no address for {host!r}: {error.strerror}", remedy) from error
    except OSError as error:
        return error.strerror or str(error)
