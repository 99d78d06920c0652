"""Peak memory of the orchestrator in a one-minute run at 1,000 operations a second.

    python -m tests.bench.orchestrator [--duration 60s] [--rate 1000/s]

Runs the real command on shipped `smoke.yml` with more load, and reads VmHWM of the process while it lives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def measure(duration: str, rate: str) -> tuple[float, dict[str, object]]:
    """(peak resident MB until the run judges and writes, the run's summary)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "harness", "run", "smoke.yml", "--out", folder, "--json",
            "--set", f"load.rate={rate}", "--set", "load.users=50", "--set", f"duration={duration}",
        ]  # fmt: skip
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        peak = 0.0
        while run.poll() is None:
            peak = max(peak, _peak(run.pid))
            try:
                run.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        assert run.stdout is not None
        return peak, json.loads(run.stdout.read())


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", default="60s")
    parser.add_argument("--rate", default="1000/s")
    options = parser.parse_args()
    peak, summary = measure(options.duration, options.rate)
    print(f"orchestrator: peak {peak:.0f} MB resident, {summary.get('operations', '?')} operations")


if __name__ == "__main__":
    main()
