"""A TCP connection through a hand that can slow it, chop it into bytes, or hold it still without closing it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from nodes import ErlangNode

from harness.etf import Atom

_STEP = 64 * 1024
_LAG = 0.2  # s that a busy machine has kept a wire from its work, and that it makes up for


class Wire:
    """What connects to ``port`` on 127.0.0.1 is carried to `address` and back.

    ``rate``: bytes a second in each direction, None is as fast as it goes. ``piece``: bytes in one send at most.
    ``hold()``: neither bytes nor the end of the stream get through any more, and no side is told.
    """

    def __init__(self, address: tuple[str, int], *, rate: float | None = None, piece: int = _STEP) -> None:
        self._address = address
        self._rate = rate
        self._piece = piece
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._thread(self._accept)

    def hold(self) -> None:
        self._open.clear()

    def close(self) -> None:
        self._open.set()
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):  # never connected, or closed by its peer
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _thread(self, run: Callable[..., None], *args: object) -> None:
        threading.Thread(target=run, args=args, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._address)
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self._rate is not None:  # no hiding of the slowness in the kernel's buffers
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STEP)
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STEP)
                self._sockets += (near, far)
                self._thread(self._carry, near, far)
                self._thread(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        due = time.monotonic()  # when the bytes so far have had their time
        with contextlib.suppress(OSError):  # closed by one side or by the test
            while data := source.recv(_STEP):
                for at in range(0, len(data), self._piece):
                    self._open.wait()
                    piece = data[at : at + self._piece]
                    sink.sendall(piece)
                    if self._rate is not None:
                        now = time.monotonic()
                        due = max(due, now - _LAG) + len(piece) / self._rate
                        time.sleep(max(due - now, 0.0))
        self._open.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wire(node: ErlangNode, **quality: float | int | None) -> Iterator[Wire]:
    """A Wire to the node's distribution port."""
    asking = node.connect(local="wire@harness")
    port = asking.rpc("erl_epmd", "port_please", [list(node.host.encode()), Atom("localhost")])[1]
    asking.close()
    made = Wire((node.address, port), **quality)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
