"""A network in memory: a Runtime of threads whose nodes reach one another without a socket."""

from __future__ import annotations

import threading
from collections import deque

from harness.dist.runtime import Listener, Stream, ThreadRuntime

Address = tuple[str, int]


class _Pipe:
    """Bytes in one direction."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.data: deque[bytes] = deque()
        self.closed = False

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class _End:
    def __init__(self, incoming: _Pipe, outgoing: _Pipe, piece: int) -> None:
        self._in, self._out = incoming, outgoing
        self._piece = piece  # bytes that one recv gives at most
        self._timeout: float | None = None

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        with self._out.changed:
            if self._out.closed:
                raise BrokenPipeError("closed")
            self._out.data.append(bytes(data))
            self._out.changed.notify_all()
        return True

    def recv(self, size: int, /) -> bytes:
        pipe = self._in
        with pipe.changed:
            if not pipe.changed.wait_for(lambda: pipe.data or pipe.closed, self._timeout):
                raise TimeoutError("timed out")
            if not pipe.data:
                return b""
            data = pipe.data.popleft()
            size = min(size, self._piece)
            if len(data) > size:
                pipe.data.appendleft(data[size:])
            return data[:size]

    def offer(self, data: bytes, /) -> bool:
        self.sendall(data)
        return True

    def arrived(self) -> bool:
        return bool(self._in.data) or self._in.closed

    def settimeout(self, seconds: float | None, /) -> None:
        self._timeout = seconds

    def close(self) -> None:
        self._in.close()
        self._out.close()


class _Door:
    def __init__(self, port: int) -> None:
        self.port = port
        self._waiting: deque[Stream] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def knock(self, stream: Stream) -> None:
        with self._changed:
            if self._closed:
                raise ConnectionRefusedError("refused")
            self._waiting.append(stream)
            self._changed.notify_all()

    def accept(self) -> Stream:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                raise OSError("closed")
            return self._waiting.popleft()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class MemoryNetwork(ThreadRuntime):
    """``meet``: that many dial at once, each waits for the others just before. ``piece``: bytes that a recv gives."""

    def __init__(self, *, meet: int = 1, piece: int = 1 << 18) -> None:
        super().__init__()
        self._doors: dict[Address, _Door] = {}
        self._meeting = threading.Barrier(meet)
        self._piece = piece

    def listen(self, host: str, port: int) -> Listener:
        door = _Door(port or 1 + len(self._doors))
        self._doors[host, door.port] = door
        return door

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        door = self._doors.get((host, port))
        if door is None:
            raise ConnectionRefusedError("nobody listens")
        self._meeting.wait(timeout)
        there, back = _Pipe(), _Pipe()
        door.knock(_End(there, back, self._piece))
        return _End(back, there, self._piece)
