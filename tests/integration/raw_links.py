"""A connection to a real node without `Connection`: what is on the wire, with any flags."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from nodes import COOKIE, ErlangNode

from harness.dist.protocol.control import Control, RegSend, Send, read, write
from harness.dist.protocol.epmd import NodeEntry, PortReader, port_please
from harness.dist.protocol.flags import HEADER
from harness.dist.protocol.framing import TICK, Deframer
from harness.dist.protocol.handshake import Established, Identity, Initiator
from harness.dist.protocol.handshake import Send as Say
from harness.dist.protocol.header import FIRST, Inbound
from harness.dist.protocol.header_out import Outbound
from harness.etf import Atom, Pid, Reference, Term, decode


class RawLink:
    """Calls go through rex. What comes besides their answers waits in `others`; `opcodes` are all that came."""

    def __init__(self, node: ErlangNode, name: str, flags: int) -> None:
        with socket.create_connection((node.address, 4369), 60) as epmd:
            epmd.sendall(port_please(node.host))
            entry = PortReader().receive(epmd.recv(4096))
        assert isinstance(entry, NodeEntry)
        self.sock = socket.create_connection((node.address, entry.port), 60)
        handshake = Initiator(Identity(name, COOKIE, 7, flags), node.name, 1)
        self.sock.sendall(handshake.start())
        established: Established | None = None
        while established is None:
            for event in handshake.receive(self.sock.recv(4096)):
                if isinstance(event, Say):
                    self.sock.sendall(event.data)
                elif isinstance(event, Established):
                    established = event
        self.common = established.flags & flags
        self.pid = Pid(Atom(name), 1, 0, 7)
        self.opcodes: set[int] = set()
        self.others: deque[tuple[Control, Term]] = deque()
        self.fragmented = 0  # messages, either way
        self._headed = bool(self.common & HEADER)
        self._outbound, self._inbound, self._deframer = Outbound(), Inbound(), Deframer()
        self._packets = self._deframer.receive(established.rest)
        self._references = 0

    def send(self, control: Control, message: Term = None, *, exit_payload: bool = True) -> None:
        plain = write(control, message, exit_payload=exit_payload)
        packets = self._outbound.packets(plain) if self._headed else [plain]
        self.fragmented += len(packets) > 1
        self.sock.sendall(b"".join(packets))

    def reference(self) -> Reference:
        self._references += 1
        return Reference(self.pid.node, 7, (0, 0, self._references))

    def start(self, module: str, function: str, args: list[Term]) -> Reference:
        """A call whose answer is still to be received."""
        ref = self.reference()
        call = (Atom("call"), Atom(module), Atom(function), args, Atom("user"))
        self.send(RegSend(self.pid, Atom("rex")), (Atom("$gen_call"), (self.pid, ref), call))
        return ref

    def receive(self) -> tuple[Control, Term]:
        """The next control message and its message. Ticks are answered."""
        while True:
            while not self._packets:
                data = self.sock.recv(1 << 16)
                assert data, "closed by the node"
                self._packets += self._deframer.receive(data)
            packet = self._packets.pop(0)
            if not packet:
                self.sock.sendall(TICK)
            elif not self._headed:
                return self._read(packet, None)
            else:
                self.fragmented += packet[1] == FIRST
                whole = self._inbound.receive(packet)
                if whole is not None:
                    return self._read(whole.data, whole.atoms)

    def _read(self, packet: bytes, atoms: tuple[Term, ...] | None) -> tuple[Control, Term]:
        raw, _ = decode(packet, 2 if atoms is None else 0, cache=atoms)
        self.opcodes.add(raw[0])
        return read(packet, atoms=atoms)

    def call(self, module: str, function: str, args: list[Term]) -> Term:
        ref = self.start(module, function, args)
        while True:
            control, message = self.receive()
            if isinstance(control, Send) and type(message) is tuple and message[0] == ref:
                return message[1]
            self.others.append((control, message))

    def other(self) -> tuple[Control, Term]:
        """What comes next that answers no call."""
        return self.others.popleft() if self.others else self.receive()

    def evaluate(self, source: str, **bindings: Any) -> Term:
        """The value of Erlang expressions, in which the names of `bindings` are bound."""
        _, tokens, _ = self.call("erl_scan", "string", [list(source.encode())])
        _, expressions = self.call("erl_parse", "parse_exprs", [tokens])
        bound = [(Atom(name), value) for name, value in bindings.items()]
        _, value, _ = self.call("erl_eval", "exprs", [expressions, bound])
        return value
