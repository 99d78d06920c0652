"""The distribution client's Runtime on gevent: a call is one greenlet switch out and one back.

Nothing here goes through gevent's AsyncResult or Event: the hub reads the socket and switches straight to the callers
whose answers have come. What they queue in turn leaves in one send, when the last of them waits again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import gevent
import gevent.monkey
import gevent.socket
from gevent.lock import BoundedSemaphore

from harness.dist.pump import Pump, Traffic
from harness.dist.runtime import Listener, Lock, Parker, Stream
from harness.dist.sockets import listening
from harness.dist.ticks import Ticker
from harness.load.greenlets.pump import AsidePump, HubPump
from harness.load.greenlets.stream import GreenletListener, GreenletStream, native_lock
from harness.load.greenlets.waiting import GreenletParker

__all__ = ["GREENLETS", "GreenletRuntime"]

_native_start = gevent.monkey.get_original("_thread", "start_new_thread")


class GreenletRuntime:
    """See harness.dist.runtime.Runtime."""

    def __init__(self) -> None:
        self.ticker = Ticker(lambda run: _native_start(run, ()), native_lock)

    def dial(self, host: str, port: int, timeout: float) -> Stream:
        sock = gevent.socket.create_connection((host, port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return GreenletStream(sock, timeout)

    def listen(self, host: str, port: int) -> Listener:
        return GreenletListener(listening(host, port))

    def spawn(self, fn: Callable[[], None], name: str) -> None:
        gevent.spawn(fn)

    def parker(self) -> Parker:
        return GreenletParker()

    def lock(self) -> Lock:
        lock: Lock = BoundedSemaphore(1)
        return lock

    def pump(self, stream: Stream, traffic: Traffic, name: str) -> Pump:
        if isinstance(stream, GreenletStream):
            return HubPump(stream, traffic)
        return AsidePump(stream, traffic)


GREENLETS = GreenletRuntime()
