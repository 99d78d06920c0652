"""A Stream inside a Stream: two of ours joined, in threads and in greenlets, and a connection inside it."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tls_pairs import HARNESS, NODE, VERSIONS, WAIT, at_once, joined, left

from harness.dist import THREADS, connect
from harness.dist.protocol.handshake import Acceptor, Established, Identity
from harness.dist.runtime import Stream
from harness.dist.tls import HEADER, TlsStream, secured
from harness.errors import HandshakeRefused, HarnessError


@pytest.fixture
def pair() -> Iterator[tuple[TlsStream, TlsStream]]:
    dialling, dialled, _ = joined(HARNESS.client_context(), NODE.server_context())
    yield dialling, dialled
    dialling.close()
    dialled.close()


def received(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := stream.recv(1 << 18)):
        data += more
    return data


def test_data_passes_both_ways_at_once(pair: tuple[TlsStream, TlsStream]) -> None:
    one, other = bytes(range(256)) * 20_000, bytes(range(255, -1, -1)) * 20_000
    a, b = pair
    _, _, to_a, to_b = at_once(
        lambda: a.sendall(one),
        lambda: b.sendall(other),
        lambda: received(a, len(other)),
        lambda: received(b, len(one)),
    )
    assert (to_a, to_b) == (other, one)


@pytest.mark.parametrize("version", VERSIONS)
def test_byte_by_byte(version: ssl.TLSVersion) -> None:
    client = HARNESS.client_context()
    client.maximum_version = version
    dialling, dialled, _ = joined(client, NODE.server_context(), most=1)
    dialling.sendall(b"to the node")
    dialled.sendall(b"from the node")
    assert received(dialled, 11) == b"to the node"
    assert received(dialling, 13) == b"from the node"


def test_several_write_at_once_and_no_byte_is_torn(pair: tuple[TlsStream, TlsStream]) -> None:
    a, b = pair
    parts = [bytes([n]) * 300_000 for n in range(8)]
    *_, got = at_once(*(lambda part=part: a.sendall(part) for part in parts), lambda: received(b, 8 * 300_000))  # type: ignore[misc]
    assert sorted(got[n * 300_000 : (n + 1) * 300_000] for n in range(8)) == parts


def test_reading_may_have_to_write() -> None:
    """TLS 1.3 may ask for something after the handshake; who only reads answers all the same."""
    client, server = HARNESS.client_context(), NODE.server_context()
    client.post_handshake_auth = True
    server.verify_mode = ssl.CERT_OPTIONAL
    server.post_handshake_auth = True
    dialling, dialled, _ = joined(client, server)
    dialled._tls.verify_client_post_handshake()
    dialled.sendall(b"who are you?")
    reading = threading.Thread(target=lambda: received(dialling, 1 << 20), daemon=True)
    reading.start()
    dialled.settimeout(0.05)
    deadline = time.monotonic() + WAIT
    while dialled._tls.getpeercert() is None:
        assert time.monotonic() < deadline
        with pytest.raises(TimeoutError):
            dialled.recv(1)
    dialled.close()
    reading.join(WAIT)
    assert not reading.is_alive()


# --- the end ----------------------------------------------------------------------------------------------------------


def test_goodbye(pair: tuple[TlsStream, TlsStream]) -> None:
    a, b = pair
    a.sendall(b"last")
    a.close()
    a.close()
    assert b.recv(10) == b"last"
    assert b.recv(10) == b""
    with pytest.raises(OSError):  # noqa: PT011  whatever the closed stream says
        a.sendall(b"more")


def test_a_peer_that_is_killed_says_no_goodbye() -> None:
    dialling, _, below = joined(HARNESS.client_context(), NODE.server_context())
    below[1].close()
    assert dialling.recv(10) == b""


def test_close_wakes_who_reads_and_who_writes(pair: tuple[TlsStream, TlsStream]) -> None:
    a, _ = pair
    begun = threading.Barrier(4)

    def read() -> bytes:
        begun.wait(WAIT)
        return a.recv(1)

    def write() -> None:
        begun.wait(WAIT)
        a.sendall(bytes(50_000_000))  # nobody reads it

    def close() -> None:
        begun.wait(WAIT)
        a.close()

    outcomes = at_once(read, write, close, lambda: begun.wait(WAIT))
    assert outcomes[0] == b"" or isinstance(outcomes[0], OSError)
    assert isinstance(outcomes[1], OSError)
    assert outcomes[2] is None


def test_a_timeout_spoils_nothing(pair: tuple[TlsStream, TlsStream]) -> None:
    a, b = pair
    a.settimeout(0.02)
    with pytest.raises(TimeoutError):
        a.recv(1)
    a.settimeout(WAIT)
    b.sendall(b"later")
    assert a.recv(10) == b"later"


# --- the distribution handshake inside --------------------------------------------------------------------------------


class Node:
    """Listens with TLS until a handshake is done, and keeps that stream open until it is closed."""

    def __init__(self) -> None:
        self.established: Established | None = None
        self._listener = THREADS.listen("127.0.0.1", 0)
        self.port = self._listener.port
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while self.established is None:
                self._answer(self._listener.accept())

    def _answer(self, raw: Stream) -> None:
        try:
            stream = secured(raw, NODE.server_context(), "harness@harness", THREADS, left, server_side=True)
            acceptor = Acceptor(Identity("n1@n1", "c", 7, header=HEADER), 4711)
            while data := stream.recv(1 << 16):
                for event in acceptor.receive(data) if self.established is None else ():
                    if isinstance(event, Established):
                        self.established = event
                    elif data := getattr(event, "data", b""):
                        stream.sendall(data)
        except HarnessError:
            pass
        raw.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()


def test_a_connection_inside_tls() -> None:
    with Node() as node:
        connection = connect("n1@n1", host="127.0.0.1", port=node.port, cookie="c", tls=HARNESS.client_context())
        connection.close()
    assert node.established is not None
    assert node.established.peer == "harness@harness"


def test_a_wrong_cookie_inside_tls_is_still_a_wrong_cookie() -> None:
    with Node() as node, pytest.raises(HandshakeRefused, match="cookies differ") as raised:
        connect("n1@n1", host="127.0.0.1", port=node.port, cookie="other", tls=HARNESS.client_context())
    assert raised.value.reason == "cookie"


def test_without_tls_a_node_of_tls_is_told_by_its_alert() -> None:
    listener = THREADS.listen("127.0.0.1", 0)

    def unexpected_message() -> None:  # as OTP answers what is no TLS record
        stream = listener.accept()
        stream.recv(1 << 16)
        stream.sendall(b"\x15\x03\x03\x00\x02\x02\x0a")
        stream.close()

    def dial() -> None:
        connect("n1@n1", host="127.0.0.1", port=listener.port, cookie="c")

    _, refused = at_once(unexpected_message, dial)
    listener.close()
    assert isinstance(refused, HandshakeRefused)
    assert refused.reason == "tls"
    assert "the node speaks TLS; connect with tls: " in str(refused)


GREENLETS = """
import sys, gevent.monkey
gevent.monkey.patch_all()
import gevent
from harness.dist.tls import Credentials, secured
from harness.load.greenlets import GREENLETS

stream = GREENLETS.dial("127.0.0.1", int(sys.argv[1]), 90.0)
tls = secured(stream, Credentials.read(sys.argv[2]).client_context(), "n1@n1", GREENLETS, lambda: 90.0)
sent = bytes(range(256)) * 40_000
writer = gevent.spawn(tls.sendall, sent)
got = b""
while len(got) < len(sent):
    got += tls.recv(1 << 18)
writer.get(timeout=90)
assert got == sent
tls.close()
"""


def test_greenlets(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(getattr(HARNESS, name))
    listener = THREADS.listen("127.0.0.1", 0)

    def echo() -> None:
        stream = secured(listener.accept(), NODE.server_context(), "x@y", THREADS, left, server_side=True)
        while data := stream.recv(1 << 16):
            stream.sendall(data)

    def child() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", GREENLETS, str(listener.port), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)

    echoed, ended = at_once(echo, child)
    listener.close()
    assert ended.returncode == 0, ended.stderr
    assert echoed is None
