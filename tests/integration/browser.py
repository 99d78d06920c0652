"""A real browser without a window: what a page shows once its scripts have run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from html import unescape

import pytest

SCRIPTS_GET = 8000  # ms of the page's own clock, which runs ahead while nothing is being fetched


def install_chromium() -> None:
    """The distribution's own package; skips where it is absent and this user may not install it."""
    if shutil.which("chromium"):
        return
    if os.environ.get("NO_INSTALL") or os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("chromium is not installed: apt-get install chromium")
    command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)


def dumped(url: str) -> str:
    """The document as HTML. Nothing but loopback is reachable for the page."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}", f"--virtual-time-budget={SCRIPTS_GET}", "--dump-dom", url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text(html: str) -> str:
    """What of a document a person reads, in one line."""
    without = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(without).split())
