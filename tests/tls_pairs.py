"""Two TLS streams joined in this process, and certificates for them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import trustme

from harness.dist import THREADS
from harness.dist.sockets import SocketStream
from harness.dist.tls import Credentials, secured

WAIT = 90.0
OURS, OTHERS = trustme.CA(), trustme.CA()
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def credentials(host: str, *, trusts: trustme.CA = OURS, issuer: trustme.CA = OURS, **when: Any) -> Credentials:
    leaf = issuer.issue_cert(host, **when)
    pems = (trusts.cert_pem, leaf.cert_chain_pems[0], leaf.private_key_pem)
    return Credentials(*(pem.bytes().decode() for pem in pems))


HARNESS, NODE = credentials("harness"), credentials("n1")


class Raw(SocketStream):
    """One end of a socket pair; ``most``: bytes that are received at a time."""

    def __init__(self, sock: socket.socket, most: int = 1 << 20) -> None:
        super().__init__(sock)
        self._most = most

    def recv(self, size: int, /) -> bytes:
        return super().recv(min(size, self._most))


def left() -> float:
    return WAIT


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each gave or raised, all run at the same time."""
    outcomes: list[Any] = [None] * len(acts)

    def run(index: int) -> None:
        try:
            outcomes[index] = acts[index]()
        except Exception as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    return outcomes


def joined(
    client: ssl.SSLContext, server: ssl.SSLContext, peer: str = "n1@n1", most: int = 1 << 20
) -> tuple[Any, Any, tuple[Raw, Raw]]:
    """(dialling side, dialled side, the streams below): each a TlsStream or what was raised."""
    a, b = socket.socketpair()
    below = Raw(a, most), Raw(b, most)
    for raw in below:
        raw.settimeout(WAIT)
    dialling, dialled = at_once(
        lambda: secured(below[0], client, peer, THREADS, left),
        lambda: secured(below[1], server, "harness@harness", THREADS, left, server_side=True),
    )
    return dialling, dialled, below
