"""``make bench``: every figure of docs/benchmarks.md, one after the other. Each module runs alone, too."""

from __future__ import annotations

import subprocess
import sys

PARTS = (
    ("cluster_life", "Clusters come and go"),
    ("dist_calls", "Calls a second, ours beside native Erlang"),
    ("load_vs_native", "One load worker beside a native client"),
    ("terms", "Terms decoded and encoded beside Erlang's own"),
    ("orchestrator", "Memory of the orchestrator"),
)


def main() -> int:
    failed = 0
    for module, title in PARTS:
        print(f"\n== {title} (python -m tests.bench.{module})", flush=True)
        failed |= subprocess.call([sys.executable, "-m", f"tests.bench.{module}"])
    return failed


if __name__ == "__main__":
    sys.exit(main())
