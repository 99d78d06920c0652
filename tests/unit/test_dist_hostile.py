"""Peers that stop, stall or lie at the worst moment: whoever calls gets a value or one of our errors, in time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes import FakeLink
from tls_pairs import HARNESS, NODE

from harness.dist import THREADS, Connection, Node, connect
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Send
from harness.dist.sockets import SocketStream
from harness.dist.tls import HEADER, secured
from harness.errors import CallTimeout, HandshakeRefused, HarnessError, NotSent

WAIT = 60.0
PEER = Identity("n1@n1", "c", 77)  # the name in NODE's certificate
Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(*scripts: Script) -> Iterator[int]:
    """A port where each who dials gets the next script; after the last nobody listens any more."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # who does not read is noticed soon

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
        thread.join(WAIT)
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


# --- nodes that do not read -------------------------------------------------------------------------------------------

LARGE = b"x" * 16_000_000  # more than the kernel keeps for a peer


class Deaf:
    """A node that lets us in, ticks, and reads what we send only when told so; then it answers calls."""

    def __init__(self, *, secure: bool) -> None:
        self.reads = threading.Event()
        self.sizes: list[int] = []
        self._secure = secure

    def __call__(self, sock: socket.socket) -> None:
        stream: Any = sock
        acceptor = Acceptor(replace(PEER, header=HEADER if self._secure else 2), 4711)
        if self._secure:
            raw = SocketStream(sock)
            stream = secured(raw, NODE.server_context(), "", THREADS, lambda: WAIT, server_side=True)
        link = self._let_in(stream, acceptor)
        while not self.reads.wait(0.2):
            link.tick()
        while (call := link.call()) is not None:
            self.sizes.append(sum(len(argument) for argument in call[4]))
            link.reply(call[0], call[1], self.sizes[-1])

    @staticmethod
    def _let_in(stream: Any, acceptor: Acceptor) -> FakeLink:
        while True:
            for event in acceptor.receive(stream.recv(4096)):
                if isinstance(event, Established):
                    return FakeLink(stream, event.rest)
                assert isinstance(event, Send)
                stream.sendall(event.data)


@dataclass
class Scene:
    deaf: Deaf
    ours: Node
    connection: Connection


@pytest.fixture(params=["plain", "tls"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    secure = request.param == "tls"
    node = Deaf(secure=secure)
    with listening(node) as port:
        tls = HARNESS.client_context() if secure else None
        ours = Node("me@harness", "c", tls=tls)
        connection = ours.connect(PEER.name, host="127.0.0.1", port=port)
        given_up = threading.Timer(WAIT, connection.close)
        given_up.start()
        yield Scene(node, ours, connection)
        given_up.cancel()
        node.reads.set()
        ours.close()


@pytest.mark.parametrize("timeout", [0.2, 1.2])  # a caller with more than a second to go writes and reads for himself
def test_a_call_ends_in_time_though_the_node_does_not_read(scene: Scene, timeout: float) -> None:
    """What was written in part may be done; what waits behind it was not sent; and all else comes in order later."""
    node, connection = scene.deaf, scene.connection
    with pytest.raises(CallTimeout):
        connection.rpc("m", "f", [LARGE], timeout=timeout)
    with pytest.raises(NotSent, match=r"not sent within .* the node does not read"):
        connection.rpc("m", "f", [b"12"], timeout=timeout)
    assert not connection.closed
    assert not connection.calls
    node.reads.set()
    assert connection.rpc("m", "f", [b"123"], timeout=WAIT) == 3
    assert node.sizes == [len(LARGE), 3]


def test_spawn_and_ping_end_in_time_though_the_node_does_not_read(scene: Scene) -> None:
    box = scene.ours.mailbox()
    with pytest.raises(CallTimeout):
        box.spawn(PEER.name, "m", "f", [LARGE], timeout=0.2)
    with pytest.raises(CallTimeout):
        box.spawn(PEER.name, "m", "f", [b"12"], timeout=0.2)
    with pytest.raises(CallTimeout):
        scene.ours.ping(PEER.name, timeout=0.2)
    assert not scene.connection.closed


@pytest.mark.parametrize("behind_a_call", [False, True])
def test_who_casts_to_a_node_that_does_not_read_waits_for_it(scene: Scene, behind_a_call: bool) -> None:
    """Else casts would fill the memory."""
    connection = scene.connection
    done = threading.Event()
    if behind_a_call:  # whose rest the connection's own writer sends
        with pytest.raises(CallTimeout):
            connection.rpc("m", "f", [LARGE], timeout=0.2)

    def cast() -> None:
        connection.cast("m", "f", [LARGE])
        done.set()

    threading.Thread(target=cast, daemon=True).start()
    outcome = HarnessError
    while outcome is not NotSent:  # until the cast has the line
        with pytest.raises(HarnessError) as raised:
            connection.rpc("m", "f", [b"12"], timeout=0.2)
        outcome = raised.type
    assert not done.is_set()
    connection.close()
    assert done.wait(WAIT)


# --- a process in which gevent has replaced the sockets ---------------------------------------------------------------

PATCHED = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
from fakes import FakePeer
from harness.dist import connect
from harness.errors import NotSent, CallTimeout
from test_dist_hostile import listening, stay_silent

def echo(link):
    while (call := link.call()) is not None:
        if call[4]:
            link.reply(call[0], call[1], call[4])

def outcome(act):
    try:
        return act()
    except (NotSent, CallTimeout) as error:
        return type(error).__name__

with gevent.Timeout(60):
    with listening(stay_silent) as port:
        print(outcome(lambda: connect("a@a", host="127.0.0.1", port=port, cookie="c", timeout=0.2)))
    with listening(stay_silent) as port:
        print(outcome(lambda: connect("a@a", host="127.0.0.1", epmd_port=port, cookie="c", timeout=0.2)))
    with FakePeer(echo) as peer:
        connection = connect(peer.name, host="127.0.0.1", port=peer.port, cookie="c")
        print(outcome(lambda: connection.rpc("m", "f", timeout=0.2)))
        print(outcome(lambda: len(connection.rpc("m", "f", [b"x" * 20_000_000], timeout=60)[0])))
        connection.close()
"""


def stay_silent(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT * 2,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_timeouts_hold_where_gevent_has_replaced_the_sockets() -> None:
    assert run(PATCHED).split() == ["NotSent", "NotSent", "CallTimeout", "20000000"]


READ_MEANWHILE = """
from gevent import monkey
monkey.patch_all()
import gevent, socket
from harness.dist.sockets import _ReplacedStream

ours, theirs = socket.socketpair()
stream = _ReplacedStream(ours)
writer = gevent.spawn(stream.sendall, bytes(10_000_000))
with gevent.Timeout(60):
    got = 0
    while got < 10_000_000:
        assert not stream.arrived()
        got += len(theirs.recv(1 << 16))
    print(writer.get())
"""


def test_a_long_write_has_no_timeout_of_who_reads_meanwhile() -> None:
    assert run(READ_MEANWHILE) == "True\n"


# --- processes that fork ----------------------------------------------------------------------------------------------

FORKED = """
import os
from fakes import FakePeer
from harness.dist import THREADS, Node, connect
from harness.errors import NotSent

def echo(link):
    while (call := link.call()) is not None:
        link.reply(call[0], call[1], call[4])

with FakePeer(echo) as peer, Node("a@here", "c") as node:
    port = node.listen(register=False)
    connection = connect(peer.name, host="127.0.0.1", port=peer.port, cookie="c")
    assert connection.rpc("m", "f", [1], timeout=60) == [1]
    child = os.fork()
    if not child:
        try:
            connection.rpc("m", "f", [2], timeout=60)
        except NotSent as error:
            connection.close()
            node.close()
            os._exit(7 if "forked" in str(error) and not THREADS.ticker._running else 1)
        os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), connection.rpc("m", "f", [3], timeout=60))
    connect("a@here", local="b@here", host="127.0.0.1", port=port, cookie="c")
    connection.close()
"""


def test_a_fork_does_not_take_the_connection_of_its_parent() -> None:
    assert run(FORKED) == "7 [3]\n"
