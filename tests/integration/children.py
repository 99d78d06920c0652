"""Processes that run dist_child.py, from the side of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes import ErlangNode

RUNTIMES = ("threads", "greenlets")


class Child:
    """One connection of a process of its own; it ends with the job."""

    def __init__(
        self, job: str, runtime: str, node: ErlangNode, ticktime: float, number: float = 0, **environment: str
    ) -> None:
        self.local = f"{job}_{runtime}@harness"
        self.process = subprocess.Popen(
            [
                sys.executable, Path(__file__).with_name("dist_child.py"), job, runtime, node.name, node.address,
                str(ticktime), str(number),
            ],
            env=os.environ | environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended with {self.process.wait()}"
        told: dict[str, Any] = json.loads(line)
        return told


StartChild = Callable[..., Child]
