"""A node's network namespace: the helper container that owns it, and one long-lived shell inside.

Starting a process with ``exec`` costs about 50 ms; a command over the open stdin of a shell costs about 4 ms, and a
cut has to be in force on all nodes at nearly the same time.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
import time
from typing import Any

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_said
from harness.errors import HelperFailed

_HEADER = 8  # of a frame on an attached stream: stream number, three zeros, length (32 bits, big-endian)
_STDOUT, _STDERR = 1, 2


class Netns:
    """Runs shell scripts in the helper container of one node. Thread-safe: one script at a time."""

    def __init__(self, engine: Engine, container_id: str, node: str) -> None:
        self.container_id = container_id
        self.node = node
        self._engine = engine
        self._lock = threading.Lock()
        self._shell: _Shell | None = None

    def run(self, script: str, timeout: float = 5.0) -> str:
        """Run a bash script in a subshell of its own; returns its stdout.

        ``timeout`` in seconds, after which the script is killed. Raises HelperFailed with what it wrote to stderr
        when it exits with another status than 0, is not done in time, or the helper container is gone.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            fresh = self._shell is None
            try:
                status, out, err = self._try(script, deadline)
            except _ShellLost as lost:
                # Lost before anything of the script was sent: the shell had died while idle, a new one may serve.
                if fresh or lost.sent:
                    raise self._failed(script, str(lost)) from lost
                try:
                    status, out, err = self._try(script, deadline)
                except _ShellLost as again:
                    raise self._failed(script, str(again)) from again
            except TimeoutError as late:
                raise self._failed(script, f"not done within {timeout:g} s") from late
        if status != 0:
            raise self._failed(script, err.strip() or f"exit status {status}")
        return out

    def close(self) -> None:
        """End the shell. A later ``run`` opens a new one."""
        with self._lock:
            self._drop()

    def _try(self, script: str, deadline: float) -> tuple[int, str, str]:
        try:
            if self._shell is None:
                self._shell = _Shell(self._engine, self.container_id)
            return self._shell.run(script, deadline)
        except (_ShellLost, TimeoutError):
            self._drop()
            raise

    def _drop(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _failed(self, script: str, cause: str) -> HelperFailed:
        shown = script.strip().splitlines()[0][:60] if script.strip() else "empty script"
        return HelperFailed(f"helper command `{shown}`", cause, node=self.node)


class _ShellLost(Exception):
    """The shell ended. ``sent``: whether the script may have started."""

    def __init__(self, cause: str, sent: bool) -> None:
        super().__init__(cause)
        self.sent = sent


class _Shell:
    """One bash, attached. Not thread-safe."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._api = engine.client.api
        self._container = container_id
        self._number = 0
        self._buffer = bytearray()
        self._streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
        try:
            created = self._api.exec_create(container_id, ["bash", "--noprofile", "--norc"], stdin=True, tty=False)
            self._attached: Any = self._api.exec_start(created["Id"], socket=True)
        except (DockerException, requests.RequestException, OSError) as error:
            raise _ShellLost(engine_said(error), sent=False) from error
        # Plain sockets come wrapped in a reader that would buffer; ssh channels and TLS sockets come as they are.
        attached: Any = self._attached
        self._socket: socket.socket = getattr(attached, "_sock", attached)
        self._pid = ""

    def run(self, script: str, deadline: float) -> tuple[int, str, str]:
        """(exit status, stdout, stderr). Raises _ShellLost or TimeoutError, after which the shell is of no use."""
        if not self._pid:
            self._pid = self._exchange("echo $$", deadline)[1].strip()
        try:
            return self._exchange(script, deadline)
        except TimeoutError:
            self._kill()
            raise

    def _exchange(self, script: str, deadline: float) -> tuple[int, str, str]:
        self._number += 1
        mark = f"--harness-{self._number}-"
        for stream in self._streams.values():
            stream.clear()
        # eval of a quoted text: whatever the script is, an unfinished quote included, it can't swallow the marks.
        line = f"( eval {shlex.quote(script)} ) </dev/null; printf '\\n{mark}%d\\n' $?; printf '\\n{mark}\\n' >&2\n"
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._socket.sendall(line.encode())
        except TimeoutError:
            raise
        except OSError as error:
            raise _ShellLost(f"shell is gone: {error.strerror or error}", sent=False) from error
        out = self._until(_STDOUT, f"\n{mark}".encode(), deadline)
        err = self._until(_STDERR, f"\n{mark}".encode(), deadline)
        status = int(bytes(self._streams[_STDOUT]).rpartition(mark.encode())[2])
        return status, out, err

    def _until(self, stream: int, mark: bytes, deadline: float) -> str:
        """Wait for the line with the mark; what stands before it."""
        content = self._streams[stream]
        while (at := content.rfind(mark)) < 0 or content.find(b"\n", at + 1) < 0:
            self._receive(deadline)
        return content[:at].decode(errors="replace")

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError as error:
            raise _ShellLost(f"shell is gone: {error.strerror or error}", sent=True) from error
        if not data:
            said = bytes(self._streams[_STDERR]).decode(errors="replace").strip()
            raise _ShellLost(said or "the helper container is gone", sent=bool(self._pid))
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[4:_HEADER], "big")
            if len(self._buffer) < end:
                break
            self._streams.get(self._buffer[0], bytearray()).extend(self._buffer[_HEADER:end])
            del self._buffer[:end]

    def _kill(self) -> None:
        """End the shell and what it runs; an exec leads a process group of its own."""
        with contextlib.suppress(DockerException, requests.RequestException, OSError):
            kill = self._api.exec_create(self._container, ["bash", "-c", f"kill -KILL -- -{self._pid}"])
            self._api.exec_start(kill["Id"])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._attached.close()
        with contextlib.suppress(OSError):
            self._socket.close()
