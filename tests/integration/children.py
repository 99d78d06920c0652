"""Processes that run dist_child.py, from the side of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes import COOKIE, ErlangNode

RUNTIMES = ("threads", "greenlets")


class Child:
    """Its end is that of the job. `options` of each connection: see `to`."""

    def __init__(self, job: str, runtime: str, *options: dict[str, Any], number: float = 0, **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, Path(__file__).with_name("dist_child.py"), job, runtime, str(number),
                *map(json.dumps, options),
            ],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended with {self.process.wait()}"
        told: dict[str, Any] = json.loads(line)
        return told


StartChild = Callable[..., Child]


def to(node: ErlangNode, **changes: Any) -> dict[str, Any]:
    """The options of a connection to `node`."""
    return {"peer": node.name, "host": node.address, "cookie": COOKIE, "local": "child@harness", **changes}
