"""A Locust worker of a run elsewhere: what ``harness worker`` is."""

from __future__ import annotations

import re
import subprocess
import tempfile
from typing import Final

from harness.dist.tls import Credentials
from harness.errors import UsageError
from harness.load.children import child_environment, locust

MASTER_PORT: Final = 5557  # Locust's own, where a worker looks that was given a host alone


def run_worker(master: str, cookie: str = "", tls: str = "") -> int:
    """Be a Locust worker of a run elsewhere, until its master ends it; returns the exit code.

    ``master`` is HOST:PORT as the run printed it, or HOST where the run has Locust's own port. Operations, targets,
    seeds and a locustfile come from the master; the cookie from here or the environment (HARNESS_COOKIE), and so the
    folder of certificates for a cluster with TLS (HARNESS_TLS). History is sent to the master every second. Raises
    UsageError.
    """
    host, port = master_address(master)
    environment = child_environment()
    if cookie:
        environment["HARNESS_COOKIE"] = cookie
    if folder := tls or environment.get("HARNESS_TLS", ""):
        environment["HARNESS_TLS"] = Credentials.given(folder).told()  # a mistake is told here, not in Locust's log
    command = locust("-f", "-", "--worker", f"--master-host={host}", f"--master-port={port}")
    with tempfile.TemporaryDirectory(prefix="harness-worker-") as folder:  # locustfiles, the segment until it is sent
        return subprocess.call(command, env=environment | {"TMPDIR": folder})


def master_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``HOST`` -> both. Raises UsageError."""
    found = re.fullmatch(r"([^\s:/]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", text)
    port = int(found[2] or MASTER_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise UsageError("worker", f"{text!r} is no master", "write --master HOST or --master HOST:PORT")
    return found[1].strip("[]"), port
