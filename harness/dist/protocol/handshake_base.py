"""What both roles of the handshake share: who one is, what follows from bytes, messages cut out of them, errors."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum

from harness.dist.protocol.flags import HIDDEN
from harness.dist.protocol.handshake_messages import Message
from harness.errors import HandshakeRefused, UsageError


@dataclass(frozen=True, slots=True)
class Identity:
    """One side: node name, cookie, creation (distinguishes incarnations of a name; 32 bits, above 3), flags.

    An initiator without a name of its own gives its host only ("" or "host") and is told its name and creation.
    ``header``: bytes of the length before a handshake message, 2, or 4 inside TLS. Raises UsageError for a cookie that
    is no text.
    """

    name: str
    cookie: str = field(repr=False)  # it belongs into no log
    creation: int
    flags: int = HIDDEN
    header: int = 2

    def __post_init__(self) -> None:
        try:
            _ = self.cookie_bytes
        except UnicodeEncodeError:
            remedy = "its characters are those of an Erlang atom; is the argument in the encoding of the terminal?"
            raise UsageError("cookie", "it has bytes or surrogates in it that are no characters", remedy) from None

    @property
    def cookie_bytes(self) -> bytes:
        """The characters of the atom that it is to a node, one byte each where they fit."""
        try:
            return self.cookie.encode("latin-1")
        except UnicodeEncodeError:
            return self.cookie.encode()


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes to the peer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """Both sides have proven the cookie. `rest` are the bytes that already belong to the connection.

    `local` and `local_creation` are what the peer knows us as: ours, or what it gave us.
    """

    peer: str
    flags: int
    creation: int
    rest: bytes
    local: str
    local_creation: int


@dataclass(frozen=True, slots=True)
class Refused:
    """We ended it: close, once what was to be sent before is sent."""

    error: HandshakeRefused


Event = Send | Established | Refused

_LONGEST = 0xFFFF
_ALERT = b"\x15\x03"  # how a TLS alert begins: no handshake message is 5,379 bytes long


class State(Enum):
    NAME = "name"
    STATUS = "status"
    STATUS_AGAIN = "answer to alive"
    CHALLENGE = "challenge"
    REPLY = "challenge reply"
    ACK = "challenge ack"
    DONE = "done"


class Handshake(ABC):
    def __init__(self, local: Identity, challenge: int, state: State, peer: str = "") -> None:
        self.local = local
        self.peer = peer
        self.peer_flags = 0
        self.peer_creation = 0
        self._challenge = challenge
        self._state = state
        self._data = b""

    def receive(self, data: bytes) -> list[Event]:
        """What follows from `data`. Raises HandshakeRefused when the peer refuses or breaks the protocol."""
        self._data += data
        events: list[Event] = []
        header = self.local.header
        while self._state is not State.DONE:
            if len(self._data) < header:
                break
            if self._data[:2] == _ALERT and header == 2:
                remedy = "connect with tls: a context with the cluster's authority and a certificate of one's own"
                raise self._error("tls", "the node speaks TLS", remedy)
            end = header + int.from_bytes(self._data[:header], "big")
            if end > header + _LONGEST:
                raise self._broken(self._data)
            if len(self._data) < end:
                break
            message, self._data = self._data[header:end], self._data[end:]
            try:
                events += self._message(message)
            except (ValueError, struct.error):  # what the readers of the messages raise
                raise self._broken(message) from None
        return events

    @abstractmethod
    def _message(self, message: bytes) -> list[Event]:
        """What follows from one whole message. Raises ValueError or struct.error for one out of place."""

    def eof(self) -> HandshakeRefused:
        """The meaning of the peer's having closed now."""
        return self._error(
            "closed",
            f"closed instead of sending the {self._state.value} message",
            "is the node stopping, or is this not its distribution port?",
        )

    def _send(self, message: Message) -> Send:
        data = message.pack()
        return Send(len(data).to_bytes(self.local.header, "big") + data)

    def _established(self) -> Established:
        self._state = State.DONE
        rest, self._data = self._data, b""
        return Established(self.peer, self.peer_flags, self.peer_creation, rest, self.local.name, self.local.creation)

    def _error(self, reason: str, cause: str, remedy: str = "") -> HandshakeRefused:
        return HandshakeRefused("handshake", reason, cause, remedy, node=self.peer)

    def _refused(self, reason: str, cause: str, remedy: str = "") -> Refused:
        self._state = State.DONE
        return Refused(self._error(reason, cause, remedy))

    def _broken(self, message: bytes) -> HandshakeRefused:
        shown = message[:20].hex()
        return self._error(
            "protocol",
            f"expected the {self._state.value} message, got {shown!r}",
            "is this the distribution port of an Erlang node of OTP 25 or later?",
        )

    def _wrong_cookie(self, how: str, verdict: str = "the cookies differ") -> HandshakeRefused:
        remedy = "use the cookie that the node was started with"
        return self._error("cookie", f"{verdict}: {how}", remedy)
