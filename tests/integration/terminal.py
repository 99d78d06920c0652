"""Typing into a program that wants a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence


def typed(
    command: Sequence[str], dialogue: Sequence[tuple[str, str]], *, cwd: str = ".",
    environ: Mapping[str, str] = os.environ, seconds: float = 240.0,
) -> str:  # fmt: skip
    """Run ``command`` on a pseudo-terminal; whenever the next text appears, type its answer. All that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(command[0], list(command), dict(environ))
    shown, seen = b"", 0
    todo = [(awaited.encode(), answer.encode()) for awaited, answer in dialogue]
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # how a terminal says that its other side was closed
                data = b""
            if not data:
                return shown.decode(errors="replace")
            shown += data
            if todo and (at := shown.find(todo[0][0], seen)) >= 0:
                seen = at + len(todo[0][0])
                os.write(terminal, todo.pop(0)[1])
        raise AssertionError(f"still running after {seconds} s, shown: {shown.decode(errors='replace')}")
    finally:
        os.close(terminal)
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
