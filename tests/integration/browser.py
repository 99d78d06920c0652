"""A real browser without a window: what a page shows once its scripts have run."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from html import unescape

SCRIPTS_GET = 8000  # ms of the page's own clock, which runs ahead while nothing is being fetched


NAMES = ("google-chrome", "chromium", "chromium-browser")  # the last two may be snaps, which don't read every folder


@functools.cache
def browser() -> str:
    """The one to use, "" for none; the distribution's own is installed where none is and this user may."""
    if not _found() and not os.environ.get("NO_INSTALL") and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, capture_output=True, timeout=600, env=environment)
    return _found()


def _found() -> str:
    return next(filter(None, map(shutil.which, NAMES)), "")


def dumped(url: str) -> str:
    """The document as HTML. Nothing but loopback is reachable for the page."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}", f"--virtual-time-budget={SCRIPTS_GET}", "--dump-dom", url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text(html: str) -> str:
    """What of a document a person reads, in one line."""
    without = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(without).split())
