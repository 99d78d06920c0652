"""EPMD, sans-I/O: one request, one answer, then the daemon closes (chapter Distribution Protocol, EPMD).

A hidden client needs PORT_PLEASE2_REQ only: it listens nowhere and so registers nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.errors import DecodeError

_PORT_PLEASE2_REQ = 122
_PORT2_RESP = 119


def port_please(alive: str) -> bytes:
    """The request for the node whose name before the ``@`` is `alive`."""
    name = alive.encode()
    return struct.pack(">HB", len(name) + 1, _PORT_PLEASE2_REQ) + name


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """What a node registered: its distribution port (as seen inside its container) and protocol versions."""

    port: int
    highest: int
    lowest: int
    name: str


@dataclass(frozen=True, slots=True)
class NotRegistered:
    """EPMD answered that it does not know the name."""

    result: int


class PortReader:
    """Collects the answer to `port_please`, however it is cut."""

    def __init__(self) -> None:
        self._data = b""

    def receive(self, data: bytes) -> NodeEntry | NotRegistered | None:
        """The answer, or None while more is to come. Raises DecodeError for what is no answer."""
        self._data += data
        got = self._data
        if got and got[0] != _PORT2_RESP:
            raise DecodeError("not an EPMD answer", 0, got[0])
        if len(got) < 2:
            return None
        if got[1]:
            return NotRegistered(got[1])
        if len(got) < 12:
            return None
        port, _type, protocol, highest, lowest, length = struct.unpack_from(">HBBHHH", got, 2)
        if len(got) < 12 + length:
            return None
        if protocol:
            raise DecodeError(f"protocol {protocol} is not TCP over IP", 5)
        return NodeEntry(port, highest, lowest, got[12 : 12 + length].decode(errors="replace"))
