"""What a command loads before it does anything: the time a person waits for ``--help``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_help_and_validate_start_without_what_only_a_run_needs(tmp_path: Path) -> None:
    def imported(*arguments: str) -> set[str]:
        """Packages that the command has loaded when it ends."""
        code = "import atexit, sys; atexit.register(lambda: print('loaded', *sys.modules)); "
        code += "from harness.cli import main; main()"
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        ran = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return {name.partition(".")[0] for name in ran.stdout.partition("loaded ")[2].split()}

    heavy = {"docker", "requests", "numpy", "gevent", "locust", "rich", "prometheus_client"}
    assert not imported("--help") & (heavy | {"pydantic", "ruamel"})
    assert not imported("validate", "smoke.yml") & heavy
