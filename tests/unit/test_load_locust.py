"""What plain Locust makes of a locustfile with an ErlangUser, as far as no node is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.load.children import child_environment

SLOW_IMPORT = """
import time
from locust import User, constant, events, task
from harness.load.user import ErlangUser

began = time.thread_time()
while time.thread_time() - began < 2.0:  # longer than the run
    pass

class Shopper(ErlangUser):
    abstract = True

class Idle(User):
    wait_time = constant(0.05)

    @task
    def nothing(self):
        pass

started = []
events.test_start.add_listener(lambda **_: started.append(time.monotonic()))
events.test_stop.add_listener(lambda **_: print(f"lasted {time.monotonic() - started[0]:.3f}", flush=True))
"""


def test_the_time_that_imports_take_is_not_taken_from_the_run(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_IMPORT)
    command = [sys.executable, "-m", "locust", "-f", "slow.py", "--headless", "-u", "1", "-t", "1s", "--only-summary"]
    ended = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.split("lasted ")[1].split()[0]) > 0.9, ended.stderr
