"""Distribution headers with real nodes: atom cache and fragments, both directions."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from harness.dist.control import RegSend, Send, read, write
from harness.dist.epmd import NodeEntry, PortReader, port_please
from harness.dist.flags import HEADER, HIDDEN
from harness.dist.framing import Deframer
from harness.dist.handshake import Established, Identity, Initiator
from harness.dist.handshake import Send as Say
from harness.dist.header import FIRST, Inbound
from harness.dist.header_out import Outbound
from harness.etf import Atom, Export, Pid, Reference, Term

pytestmark = pytest.mark.docker


class HeadedLink:
    """A connection with distribution headers, its calls one after the other or all at once."""

    def __init__(self, node: Any, name: str = "headed@harness") -> None:
        with socket.create_connection((node.address, 4369), 5) as epmd:
            epmd.sendall(port_please(node.host))
            entry = PortReader().receive(epmd.recv(4096))
        assert isinstance(entry, NodeEntry)
        self.sock = socket.create_connection((node.address, entry.port), 30)
        identity = Identity(name, "test-cookie", 7, HIDDEN | HEADER)
        handshake = Initiator(identity, node.name, 1)
        self.sock.sendall(handshake.start())
        established: Established | None = None
        while established is None:
            for event in handshake.receive(self.sock.recv(4096)):
                if isinstance(event, Say):
                    self.sock.sendall(event.data)
                elif isinstance(event, Established):
                    established = event
        self.flags = established.flags
        self.pid = Pid(Atom(name), 1, 0, 7)
        self.outbound, self.inbound, self.deframer = Outbound(), Inbound(), Deframer()
        self.packets = self.deframer.receive(established.rest)
        self.references = 0
        self.fragmented = 0

    def send(self, control: Any, message: Term) -> None:
        packets = self.outbound.packets(write(control, message))
        self.fragmented += len(packets) > 1
        for packet in packets:
            self.sock.sendall(packet)

    def start(self, module: str, function: str, args: list[Term]) -> Reference:
        self.references += 1
        ref = Reference(self.pid.node, 7, (0, 0, self.references))
        call = (Atom("call"), Atom(module), Atom(function), args, Atom("user"))
        self.send(RegSend(self.pid, Atom("rex")), (Atom("$gen_call"), (self.pid, ref), call))
        return ref

    def receive(self) -> tuple[Any, Term]:
        """The next control message; counts first fragments and answers no ticks (the tests are short)."""
        while True:
            while not self.packets:
                data = self.sock.recv(1 << 16)
                assert data, "closed by the node"
                self.packets += self.deframer.receive(data)
            packet = self.packets.pop(0)
            if packet:
                self.fragmented += packet[1] == FIRST
                whole = self.inbound.receive(packet)
                if whole is not None:
                    return read(whole.data, atoms=whole.atoms)

    def call(self, module: str, function: str, args: list[Term]) -> Term:
        ref = self.start(module, function, args)
        control, message = self.receive()
        assert control == Send(self.pid)
        assert message[0] == ref
        return message[1]


@pytest.fixture(scope="module", params=[25, 27])
def link(request: pytest.FixtureRequest, start_erlang: Any) -> Iterator[HeadedLink]:
    link = HeadedLink(start_erlang(request.param))
    yield link
    link.sock.close()


def test_both_sides_offer_it(link: HeadedLink) -> None:
    assert link.flags & HEADER == HEADER


def test_terms_come_back(link: HeadedLink) -> None:
    terms = [
        Atom("hello"), True, None, False, Atom(""), Atom("x" * 255), Atom("\u00e9" * 255), Atom("\U0001f600" * 255),
        link.pid, Reference(link.pid.node, 7, (1, 2, 3)), Export(Atom("lists"), Atom("seq"), 2),
        {Atom("k"): [Atom("v")]},
        (1, -1, 1 << 70, 1.5, b"", [1, 2], "\u00e9".encode(), [300, Atom("hello")]),
    ]  # fmt: skip
    for _ in range(3):  # new in the cache, then known
        assert link.call("erlang", "hd", [[terms]]) == terms


def test_more_atoms_than_a_header_and_the_cache_hold(link: HeadedLink) -> None:
    for start in range(0, 4000, 400):
        atoms = [Atom(f"a{number}") for number in range(start, start + 400)]
        assert link.call("lists", "reverse", [atoms]) == atoms[::-1]
    atoms = [Atom(f"a{number}") for number in range(0, 4000, 40)]  # most were replaced in the cache
    assert link.call("lists", "reverse", [atoms]) == atoms[::-1]


def test_fragments_both_ways(link: HeadedLink) -> None:
    before = link.fragmented
    blob = bytes(range(256)) * 2000
    assert link.call("erlang", "hd", [[blob]]) == blob
    assert link.fragmented == before + 2
    for size in (65_000, 65_536, 131_072, 131_073):
        assert link.call("erlang", "byte_size", [blob[:size]]) == size
        assert link.call("binary", "part", [blob, 0, size]) == blob[:size]


def test_fragments_of_many_at_once(link: HeadedLink) -> None:
    wanted = {}
    for number in range(20):
        size = 300_000 + number
        wanted[link.start("binary", "copy", [b"x", size])] = size
    while wanted:
        _, (ref, blob) = link.receive()
        assert len(blob) == wanted.pop(ref)
