"""Peers that stop, stall or lie at the worst moment: whoever calls gets a value or one of our errors, in time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.dist import connect
from harness.dist.protocol.handshake import Acceptor, Identity, Send
from harness.errors import HandshakeRefused, NotSent

PEER = Identity("peer@peer", "c", 77)
Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(*scripts: Script) -> Iterator[int]:
    """A port where each who dials gets the next script; after the last nobody listens any more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number, script in enumerate(scripts, 1):
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                if number == len(scripts):
                    listener.close()
                with sock:
                    script(sock)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):  # wakes an accept()
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)
        assert not thread.is_alive()


def leave_before_the_ack(sock: socket.socket) -> None:
    """As a node that is shown another cookie, or is killed at that moment."""
    acceptor = Acceptor(PEER, 4711)
    while (data := sock.recv(4096))[2:3] != b"r":
        for event in acceptor.receive(data):
            assert isinstance(event, Send)
            sock.sendall(event.data)


def test_a_node_killed_before_its_ack_has_no_other_cookie() -> None:
    with listening(leave_before_the_ack) as port, pytest.raises(NotSent, match="refused") as raised:
        connect(PEER.name, host="127.0.0.1", port=port, cookie="c")
    assert type(raised.value) is NotSent


def test_a_node_that_always_leaves_before_its_ack_most_likely_has_another_cookie() -> None:
    with listening(leave_before_the_ack, leave_before_the_ack) as port, pytest.raises(HandshakeRefused) as raised:
        connect(PEER.name, host="127.0.0.1", port=port, cookie="c")
    assert raised.value.reason == "cookie"
    assert "most likely the cookies differ: closed without acknowledging ours" in str(raised.value)
