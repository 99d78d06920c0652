"""Lines of JSON over a connected socket, both ways: the owner of a run and its Locust master."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any


class Channel:
    """``send`` from any thread; iterating gives, in one thread, what the other side sends until it is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def send(self, message: dict[str, Any]) -> bool:
        """False when the other side is gone."""
        line = json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError:
            return False
        return True

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        while not self._lines:
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise StopIteration
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(whole)
        message: dict[str, Any] = json.loads(self._lines.popleft())
        return message

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a reader in another thread
        self._socket.close()
