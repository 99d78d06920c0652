"""Becoming a hidden node's connection: EPMD, dial, handshake."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable

from harness.dist import epmd
from harness.dist.calls import Envelope
from harness.dist.connection import Connection
from harness.dist.handshake import Established, Identity, Initiator, Refused
from harness.dist.runtime import THREADS, Runtime, Stream
from harness.dist.tls import HEADER, TlsFailed, secured
from harness.errors import DecodeError, HarnessError, NoSuchNode, NotSent, UsageError


def connect(
    peer: str,
    *,
    host: str,
    port: int | None = None,
    epmd_port: int = 4369,
    local: str = "harness@harness",
    cookie: str,
    runtime: Runtime = THREADS,
    timeout: float = 5.0,
    ticktime: float = 60.0,
    tls: ssl.SSLContext | None = None,
    on_close: Callable[[HarnessError], None] | None = None,
) -> Connection:
    """Connect as hidden node `local` to `peer` ("n1@n1"), dialling `host`:`port` (the name need not resolve).

    Without `port`, EPMD at `host`:`epmd_port` is asked. `timeout` (seconds) bounds all of it; `ticktime` is the
    peer's net_ticktime. With `tls` the peer is a node of ``-proto_dist inet_tls`` (see `tls.Credentials`). `on_close`
    gets the reason once, in a thread of its own, unless `close` was called.

    Raises NoSuchNode (EPMD does not know it), HandshakeRefused (with reason), NotSent (nobody there, or silent).
    """
    for name in (peer, local):
        if not all(name.partition("@")):
            raise UsageError("connect", f"{name!r} is no node name", "write it as name@host")
    deadline = time.monotonic() + timeout
    if port is None:
        port = _ask_epmd(peer, host, epmd_port, runtime, deadline)
    # A creation per connection: answers to an earlier connection under this name are dropped by the peer.
    creation = 4 + secrets.randbelow(2**32 - 4)
    identity = Identity(local, cookie, creation, header=2 if tls is None else HEADER)
    stream = _dial(peer, host, port, runtime, deadline)
    try:
        if tls is not None:
            stream = secured(stream, tls, peer, runtime, lambda: _left(deadline))
        done = _shake_hands(stream, Initiator(identity, peer, secrets.randbits(32)), deadline)
    except BaseException:
        stream.close()
        raise
    return Connection(
        stream,
        runtime,
        Envelope(local, identity.creation),
        peer=peer,
        flags=done.flags,
        ticktime=ticktime,
        rest=done.rest,
        on_close=on_close,
    )


def _dial(peer: str, host: str, port: int, runtime: Runtime, deadline: float) -> Stream:
    try:
        return runtime.dial(host, port, _left(deadline))
    except OSError as error:
        cause = f"{host}:{port}: {error.strerror or error}"
        raise NotSent("connect", cause, "is the node running and reachable from here?", node=peer) from error


def _ask_epmd(peer: str, host: str, epmd_port: int, runtime: Runtime, deadline: float) -> int:
    stream = _dial(peer, host, epmd_port, runtime, deadline)
    reader = epmd.PortReader()
    try:
        stream.sendall(epmd.port_please(peer.partition("@")[0]))
        while True:
            stream.settimeout(_left(deadline))
            data = stream.recv(4096)
            match reader.receive(data):
                case epmd.NodeEntry(port=port):
                    return port
                case epmd.NotRegistered():
                    raise NoSuchNode("epmd", f"{host}:{epmd_port} does not know it", "is the node up?", node=peer)
            if not data:
                raise NotSent("epmd", f"{host}:{epmd_port} closed without an answer", node=peer)
    except (OSError, DecodeError) as error:
        raise NotSent("epmd", f"{host}:{epmd_port}: {error}", node=peer) from error
    finally:
        stream.close()


def _shake_hands(stream: Stream, handshake: Initiator, deadline: float) -> Established:
    try:
        stream.sendall(handshake.start())
        while True:
            stream.settimeout(_left(deadline))
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


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
