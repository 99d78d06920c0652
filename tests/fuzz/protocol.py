"""What holds for any bytes read as the distribution protocol: whole and byte by byte they mean the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.dist.protocol.control import Unknown, read, write
from harness.dist.protocol.epmd import NamesReader, PortReader, RegisterReader
from harness.dist.protocol.framing import Deframer
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Initiator, Name, Named, Refused, Send
from harness.dist.protocol.header import Inbound
from harness.errors import DecodeError, HandshakeRefused
from harness.etf import Atom

_WHOLE, _BYTES = 1 << 30, 1  # how many bytes arrive at once
_ATOMS = (Atom("rex"), True, None)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def control(data: bytes) -> None:
    """A control message or a DecodeError; and what was read can be written, and read again as the same.

    A first byte of 0: with the atoms of a distribution header.
    """
    try:
        got = read(data[1:], atoms=_ATOMS) if data[:1] == b"\0" else read(b"p\x83" + data[1:])
    except DecodeError:
        return
    if type(got[0]) is not Unknown:
        assert repr(read(write(*got)[4:])) == repr(got)


def header(data: bytes) -> None:
    """Whole messages or a DecodeError, and no more bytes than came in.

    The input: packets without their version byte, each after a byte of length.
    """
    inbound = Inbound(limit=200, max_sequences=3)
    came = 0
    while data:
        packet, data = b"\x83" + data[1 : 1 + data[0]], data[1 + data[0] :]
        came += len(packet)
        try:
            whole = inbound.receive(packet)
            if whole is not None:
                assert len(whole.data) <= came
                read(whole.data, atoms=whole.atoms)
        except DecodeError:
            continue  # a connection would end here; what comes next must not do worse all the same


def handshake(data: bytes) -> None:
    """The same comes of it however it is cut; the first byte chooses role and circumstances."""
    assert _shaken(data, _WHOLE) == _shaken(data, _BYTES)


def _shaken(data: bytes, size: int) -> object:
    side = _side(data[0] if data else 0)
    said, became = b"", []
    try:
        for piece in _pieces(data[1:], size):
            for event in side.receive(piece):
                match event:
                    case Send(more):
                        said += more
                    case Established():
                        became.append(str(replace(event, rest=b"")))
                    case Refused(error):
                        became.append(error.reason)
    except HandshakeRefused as refused:
        return refused.reason
    return said, became, side.eof().reason


def _side(choice: int) -> Initiator | Acceptor:
    local = Identity("here" if choice & 4 else "a@here", "secret", 7, header=4 if choice & 2 else 2)
    if choice & 1:
        return Initiator(local, "b@b", 1, insist=bool(choice & 8))
    return Acceptor(local, 2, _named if choice & 8 else ("ok", "alive", "nok")[(choice >> 4) % 3])


def _named(who: Name) -> Named:
    return Named(f"x@{who.name}", 9)


def epmd(data: bytes) -> None:
    """The same comes of it however it is cut; the first byte chooses the reader."""
    assert _answer(data, _WHOLE) == _answer(data, _BYTES)


def _answer(data: bytes, size: int) -> object:
    reader = (PortReader, RegisterReader, NamesReader)[data[0] % 3 if data else 0]()
    try:
        for piece in _pieces(data[1:], size):
            reader.receive(piece)
        return reader.receive(b"")
    except DecodeError:
        return DecodeError


def packets(data: bytes) -> None:
    """The same comes of it however it is cut."""
    assert _packets(data, _WHOLE) == _packets(data, _BYTES)


def _packets(data: bytes, size: int) -> object:
    deframer = Deframer(limit=100)
    try:
        return [packet for piece in _pieces(data, size) for packet in deframer.receive(piece)]
    except DecodeError:
        return DecodeError
