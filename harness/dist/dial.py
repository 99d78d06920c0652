"""The way to an established connection, on sockets: EPMD, dialling, the handshake in either role."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from harness.dist.arguments import check_address, check_wait
from harness.dist.protocol import epmd
from harness.dist.protocol.handshake import Established, Initiator, Refused
from harness.dist.protocol.handshake_base import Handshake
from harness.dist.runtime import THREADS, Runtime, Stream
from harness.dist.tls import TlsFailed
from harness.errors import DecodeError, NoSuchNode, NotSent, shown

Left = Callable[[], float]
"""Seconds until whoever waits has no more time; never less than SHORTEST."""

SHORTEST = 0.001

_Answer = TypeVar("_Answer")


def limit(seconds: float) -> Left:
    deadline = time.monotonic() + seconds
    return lambda: max(deadline - time.monotonic(), SHORTEST)


def dial(peer: str, host: str, port: int, runtime: Runtime, left: Left) -> Stream:
    """Raises NotSent."""
    try:
        return runtime.dial(host, port, left())
    except OSError as error:
        cause = f"{host}:{port}: {error.strerror or error}"
        raise NotSent("connect", cause, "is the node running and reachable from here?", node=peer) from error
    except ValueError as error:  # from IDNA, before any resolver is asked
        raise NotSent("connect", f"{shown(host)} is no name of a host", node=peer) from error


def ask_epmd(peer: str, host: str, epmd_port: int, runtime: Runtime, left: Left) -> int:
    """The distribution port of `peer`. Raises NoSuchNode, NotSent."""
    question, reader = epmd.port_please(peer.partition("@")[0]), epmd.PortReader()
    entry = _look_up(question, reader.receive, peer, host, epmd_port, runtime, left)
    if isinstance(entry, epmd.NodeEntry) and entry.port:  # 0: it listens nowhere
        return entry.port
    raise NoSuchNode("epmd", f"{host}:{epmd_port} does not know it", "is the node up?", node=peer)


def names(host: str, port: int = epmd.PORT, *, runtime: Runtime = THREADS, timeout: float = 5.0) -> dict[str, int]:
    """The nodes that the EPMD at `host`:`port` knows: their distribution ports by what is before the ``@`` of their
    names, as ``net_adm:names/1``. Raises NotSent, UsageError.
    """
    check_address(host, port, "names", "")
    check_wait(timeout, "names", host, none=False)
    return _look_up(epmd.names(), epmd.NamesReader().receive, "", host, port, runtime, limit(timeout))


def _look_up(
    question: bytes,
    receive: Callable[[bytes], _Answer | None],
    peer: str,
    host: str,
    port: int,
    runtime: Runtime,
    left: Left,
) -> _Answer:
    stream = dial(peer, host, port, runtime, left)
    try:
        return ask(stream, question, receive, left)
    except (OSError, DecodeError) as error:
        raise NotSent("epmd", f"{host}:{port}: {error}", node=peer) from error
    finally:
        stream.close()


def ask(stream: Stream, request: bytes, receive: Callable[[bytes], _Answer | None], left: Left) -> _Answer:
    """Send a request to EPMD and read until `receive` has the answer. Raises OSError, DecodeError."""
    stream.settimeout(left())
    stream.sendall(request)
    while True:
        stream.settimeout(left())
        data = stream.recv(4096)
        answer = receive(data)
        if answer is not None:
            return answer
        if not data:
            raise ConnectionError("closed without an answer")


def shake_hands(stream: Stream, handshake: Handshake, left: Left) -> Established:
    """Until both sides know each other. Raises HandshakeRefused, NotSent."""
    try:
        if isinstance(handshake, Initiator):
            stream.sendall(handshake.start())
        while True:
            stream.settimeout(left())
            data = stream.recv(4096)
            if not data:
                raise handshake.eof()
            for event in handshake.receive(data):
                if isinstance(event, Established):
                    return event
                if isinstance(event, Refused):
                    raise event.error
                stream.sendall(event.data)
    except TlsFailed as error:
        raise error.refused(handshake.peer) from error
    except TimeoutError as error:
        remedy = "the node may be paused, overloaded or cut off"
        raise NotSent("handshake", "no answer in time", remedy, node=handshake.peer) from error
    except ConnectionError as error:  # a reset is a close, too
        raise handshake.eof() from error
    except OSError as error:
        raise NotSent("handshake", str(error.strerror or error), node=handshake.peer) from error
