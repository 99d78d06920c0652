"""A name at EPMD, against one of the test's own on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from fakes import nobody_listens

from harness.dist import Node, names
from harness.dist.__main__ import main
from harness.dist.protocol.epmd import HIDDEN_NODE, VISIBLE_NODE
from harness.errors import NameTaken, NotSent

WAIT = 60.0


class FakeEpmd:
    """Takes every registration, one at a time, and keeps what it was told. ``result``: what it answers."""

    def __init__(self) -> None:
        self.result = 0
        self.requests: list[bytes] = []
        self.held: list[socket.socket] = []
        self.changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock.makefile("rb") as file:
                request = file.read(int.from_bytes(file.read(2), "big"))
            sock.sendall(bytes((118, self.result)) + (b"" if self.result else bytes(4)))
            with self.changed:
                self.requests.append(request)
                self.held.append(sock)
                self.changed.notify_all()

    def wait(self, registrations: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= registrations, WAIT)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self.held:
            sock.close()


def test_names_of_an_epmd() -> None:
    """From Python, and as a tool; the answer ends with the connection."""
    told = (b"\0\0\x11\x11name x at port 41633\n", b"name n1 at port 9100\n")

    def answer() -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            with sock:
                assert sock.recv(16) == b"\0\1n"
                for part in told:
                    sock.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=answer, daemon=True).start()
        assert names("127.0.0.1", port, timeout=WAIT) == {"x": 41633, "n1": 9100}
        shown = CliRunner().invoke(main, ["names", "127.0.0.1", "--epmd-port", str(port)])
        assert (shown.exit_code, shown.stdout) == (0, "name x at port 41633\nname n1 at port 9100\n")
    with nobody_listens() as port:
        with pytest.raises(NotSent, match="refused"):
            names("127.0.0.1", port)
        shown = CliRunner().invoke(main, ["names", "127.0.0.1", "--epmd-port", str(port)])
        assert (shown.exit_code, shown.stdout, shown.stderr.count("\n")) == (1, "", 1)


@pytest.fixture
def epmd() -> Iterator[FakeEpmd]:
    made = FakeEpmd()
    yield made
    made.close()


@pytest.mark.parametrize(("hidden", "kind"), [(True, HIDDEN_NODE), (False, VISIBLE_NODE)])
def test_registered_while_the_node_lives(epmd: FakeEpmd, hidden: bool, kind: int) -> None:
    with Node("me@here", "c", hidden=hidden) as node:
        port = node.listen(epmd_port=epmd.port)
        epmd.wait(1)
        assert epmd.requests[0][:4] == bytes((120, *port.to_bytes(2, "big"), kind))
        assert b"me" in epmd.requests[0]
        epmd.held[0].settimeout(WAIT)
    assert epmd.held[0].recv(1) == b""
    assert len(epmd.requests) == 1


def test_registered_again_after_epmd_was_away(epmd: FakeEpmd) -> None:
    with Node("me@here", "c") as node:
        node.listen(epmd_port=epmd.port)
        epmd.wait(1)
        epmd.held[0].close()
        epmd.wait(2)
        assert epmd.requests[0] == epmd.requests[1]


def test_a_name_that_is_taken(epmd: FakeEpmd) -> None:
    epmd.result = 1
    with Node("me@here", "c") as node:
        with pytest.raises(NameTaken, match=r"me@here: epmd: .* does not register the name"):
            node.listen(epmd_port=epmd.port)
        assert not node._doors
        epmd.result = 0
        node.listen(epmd_port=epmd.port)


def test_no_epmd() -> None:
    with nobody_listens() as port, Node("me@here", "c") as node, pytest.raises(NotSent, match="refused"):
        node.listen(epmd_port=port)
