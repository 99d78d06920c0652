"""EPMD as a client, sans-I/O (chapter Distribution Protocol, EPMD Protocol).

One request and one answer a connection. The daemon closes it after `port_please` and `names`; the one that carried
`register` stays open for as long as the node is to be known.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.errors import DecodeError

PORT = 4369

VISIBLE_NODE, HIDDEN_NODE = 77, 72
HIGHEST, LOWEST = 6, 6  # versions of the distribution protocol that we speak: 6 is that of OTP 23 and later

_TCP = 0
_NAMES_REQ, _ALIVE2_REQ, _PORT_PLEASE2_REQ = 110, 120, 122
_ALIVE2_X_RESP, _PORT2_RESP, _ALIVE2_RESP = 118, 119, 121
_LIMIT = 1 << 20  # bytes of an answer: ten thousand names take half of it

_port2 = struct.Struct(">HBBHHH")
_name_line = re.compile(r"name (\S+) at port (\d{1,5})")


# --- requests ---------------------------------------------------------------------------------------------------------


def port_please(alive: str) -> bytes:
    """Where is the node whose name before the ``@`` is `alive`? `PortReader` reads the answer."""
    return _request(_PORT_PLEASE2_REQ, alive.encode())


def names() -> bytes:
    """Which nodes are there? `NamesReader` reads the answer."""
    return _request(_NAMES_REQ)


def register(alive: str, port: int, *, hidden: bool = True, extra: bytes = b"") -> bytes:
    """Make `alive` known, listening on `port`. `RegisterReader` reads the answer."""
    name = alive.encode()
    kind = HIDDEN_NODE if hidden else VISIBLE_NODE
    head = struct.pack(">HBBHHH", port, kind, _TCP, HIGHEST, LOWEST, len(name))
    return _request(_ALIVE2_REQ, head + name + len(extra).to_bytes(2, "big") + extra)


def _request(tag: int, body: bytes = b"") -> bytes:
    return struct.pack(">HB", 1 + len(body), tag) + body


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """What a node registered: its distribution port (as seen inside its container) and protocol versions."""

    port: int
    highest: int
    lowest: int
    name: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class NotRegistered:
    """EPMD answered that it does not know the name, or would not register it."""

    result: int


@dataclass(frozen=True, slots=True)
class Registered:
    """The name is ours while the connection is open. A creation of 16 bits is what an EPMD before OTP 23 gives."""

    creation: int


_Answer = TypeVar("_Answer")


class _Reader(ABC, Generic[_Answer]):
    """Collects an answer, however it is cut. What follows it is ignored."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: _Answer | None = None

    def receive(self, data: bytes) -> _Answer | None:
        """The answer, or None while more is to come. Raises DecodeError for what is no answer."""
        if self._answer is None:
            self._data += data
            if len(self._data) > _LIMIT:
                raise DecodeError(f"an EPMD answer of more than {_LIMIT} bytes", _LIMIT)
            self._answer = self._read(self._data)
        return self._answer

    @abstractmethod
    def _read(self, got: bytes) -> _Answer | None:
        """The answer in all that came so far."""


def _starts(got: bytes, *tags: int) -> bool:
    """Whether tag and result are there. Raises DecodeError for another tag."""
    if got and got[0] not in tags:
        raise DecodeError("not an EPMD answer", 0, got[0])
    return len(got) >= 2


class PortReader(_Reader[NodeEntry | NotRegistered]):
    """The answer to `port_please`. A node of port 0 listens nowhere."""

    def _read(self, got: bytes) -> NodeEntry | NotRegistered | None:
        if not _starts(got, _PORT2_RESP):
            return None
        if got[1]:
            return NotRegistered(got[1])
        end = 12 + (int.from_bytes(got[10:12], "big") if len(got) >= 12 else 0)
        if len(got) < max(end, 12):
            return None  # the Extra field behind the name is not waited for: nobody fills it
        port, kind, protocol, highest, lowest, _ = _port2.unpack_from(got, 2)
        if protocol != _TCP:
            raise DecodeError(f"protocol {protocol} is not TCP over IP", 5)
        return NodeEntry(port, highest, lowest, got[12:end].decode(errors="replace"), kind == HIDDEN_NODE)


class RegisterReader(_Reader[Registered | NotRegistered]):
    """The answer to `register`, of an EPMD of any age."""

    def _read(self, got: bytes) -> Registered | NotRegistered | None:
        if not _starts(got, _ALIVE2_X_RESP, _ALIVE2_RESP):
            return None
        if got[1]:
            return NotRegistered(got[1])
        end = 6 if got[0] == _ALIVE2_X_RESP else 4
        return Registered(int.from_bytes(got[2:end], "big")) if len(got) >= end else None


class NamesReader(_Reader[dict[str, int]]):
    """The answer to `names`: ports by name. It ends with the stream: `receive` b"" then."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def receive(self, data: bytes) -> dict[str, int] | None:
        self._ended = self._ended or not data
        return super().receive(data)

    def _read(self, got: bytes) -> dict[str, int] | None:
        if not self._ended:
            return None
        if len(got) < 4:
            raise DecodeError("not an EPMD answer", 0)
        found: dict[str, int] = {}
        for line in got[4:].decode(errors="replace").splitlines():  # before them: the daemon's own port
            told = _name_line.fullmatch(line)
            if told is None:
                raise DecodeError(f"not a line of an EPMD: {line[:40]!r}", 4)
            found[told[1]] = int(told[2])
        return found
