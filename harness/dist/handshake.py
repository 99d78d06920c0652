"""Handshake version 6, sans-I/O, in both roles (chapter Distribution Protocol, Distribution Handshake).

::

    initiator                       acceptor
    N flags creation name    ->
                             <-     s status
   (s true                   ->     after status alive)
                             <-     N flags challenge creation name
    r challenge digest       ->
                             <-     a digest

Every message has a 2-byte length before it, inside TLS a 4-byte one. Challenges are arguments: whoever owns a random
source passes them in.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum, IntFlag

from harness.errors import HandshakeRefused


class Flag(IntFlag):
    """Capabilities. Left out on purpose: PUBLISHED (we are hidden), DIST_HDR_ATOM_CACHE and FRAGMENTS (plain
    frames).
    """

    PUBLISHED = 0x1
    EXTENDED_REFERENCES = 0x4
    DIST_MONITOR = 0x8
    FUN_TAGS = 0x10
    DIST_MONITOR_NAME = 0x20
    NEW_FUN_TAGS = 0x80
    EXTENDED_PIDS_PORTS = 0x100
    EXPORT_PTR_TAG = 0x200
    BIT_BINARIES = 0x400
    NEW_FLOATS = 0x800
    DIST_HDR_ATOM_CACHE = 0x2000
    UTF8_ATOMS = 0x10000
    MAP_TAG = 0x20000
    BIG_CREATION = 0x40000
    EXIT_PAYLOAD = 0x400000
    FRAGMENTS = 0x800000
    HANDSHAKE_23 = 0x1000000
    UNLINK_ID = 0x2000000
    SPAWN = 1 << 32
    V4_NC = 1 << 34
    MANDATORY_25_DIGEST = 1 << 36


MANDATORY = (
    Flag.EXTENDED_REFERENCES | Flag.FUN_TAGS | Flag.NEW_FUN_TAGS | Flag.EXTENDED_PIDS_PORTS | Flag.EXPORT_PTR_TAG
    | Flag.BIT_BINARIES | Flag.NEW_FLOATS | Flag.UTF8_ATOMS | Flag.MAP_TAG | Flag.BIG_CREATION | Flag.HANDSHAKE_23
)  # fmt: skip
"""Without these OTP 25 refuses."""

HIDDEN = (
    MANDATORY | Flag.UNLINK_ID | Flag.V4_NC | Flag.MANDATORY_25_DIGEST  # OTP 26 and later refuse without these
    | Flag.DIST_MONITOR | Flag.DIST_MONITOR_NAME | Flag.EXIT_PAYLOAD | Flag.SPAWN
)  # fmt: skip
"""What we offer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One side: node name, cookie, creation (distinguishes incarnations of a name; 32 bits, above 3), flags.

    ``header``: bytes of the length before a handshake message, 2, or 4 inside TLS.
    """

    name: str
    cookie: str
    creation: int
    flags: int = HIDDEN
    header: int = 2
    cookie_bytes: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cookie_bytes", self.cookie.encode())

    def __repr__(self) -> str:  # a cookie belongs into no log
        return f"Identity({self.name!r}, creation={self.creation}, flags={self.flags:#x})"


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes to the peer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """Both sides have proven the cookie. `rest` are the bytes that already belong to the connection."""

    peer: str
    flags: int
    creation: int
    rest: bytes


Event = Send | Established


def digest(cookie: bytes, challenge: int) -> bytes:
    """The proof that one knows `cookie` (the protocol prescribes MD5)."""
    return hashlib.md5(cookie + str(challenge).encode(), usedforsecurity=False).digest()


_LONGEST = 0xFFFF
_ALERT = b"\x15\x03"  # how a TLS alert begins: no handshake message is 5,379 bytes long


class _State(Enum):
    NAME = "name"
    STATUS = "status"
    STATUS_AGAIN = "answer to alive"
    CHALLENGE = "challenge"
    REPLY = "challenge reply"
    ACK = "challenge ack"
    DONE = "done"


class _Handshake(ABC):
    def __init__(self, local: Identity, challenge: int, state: _State) -> None:
        self.local = local
        self.peer = ""
        self.peer_flags = 0
        self.peer_creation = 0
        self._challenge = challenge
        self._state = state
        self._data = b""

    def receive(self, data: bytes) -> list[Event]:
        """What follows from `data`. Raises HandshakeRefused when the peer refuses or breaks the protocol."""
        self._data += data
        events: list[Event] = []
        while self._state is not _State.DONE:
            header = self.local.header
            if len(self._data) < header:
                break
            if self._data[:2] == _ALERT and header == 2:
                remedy = "connect with tls: a context with the cluster's authority and a certificate of one's own"
                raise self._refused("tls", "the node speaks TLS", remedy)
            end = header + int.from_bytes(self._data[:header], "big")
            if end > header + _LONGEST:
                raise self._broken(self._data)
            if len(self._data) < end:
                break
            message, self._data = self._data[header:end], self._data[end:]
            try:
                events += self._message(message)
            except (struct.error, IndexError, UnicodeDecodeError):
                raise self._broken(message) from None
        return events

    @abstractmethod
    def _message(self, message: bytes) -> list[Event]:
        """What follows from one whole message."""

    def _send(self, *parts: bytes) -> Send:
        message = b"".join(parts)
        return Send(len(message).to_bytes(self.local.header, "big") + message)

    def _established(self) -> Established:
        self._state = _State.DONE
        rest, self._data = self._data, b""
        return Established(self.peer, self.peer_flags, self.peer_creation, rest)

    def _refused(self, reason: str, cause: str, remedy: str = "") -> HandshakeRefused:
        return HandshakeRefused("handshake", reason, cause, remedy, node=self.peer)

    def _broken(self, message: bytes) -> HandshakeRefused:
        shown = message[:20].hex()
        return self._refused(
            "protocol",
            f"expected the {self._state.value} message, got {shown!r}",
            "is this the distribution port of an Erlang node of OTP 25 or later?",
        )

    def _wrong_cookie(self) -> HandshakeRefused:
        return self._refused("cookie", "the cookies differ", "use the cookie that the node was started with")


class Initiator(_Handshake):
    """Our side when we dial. `challenge` is a random 32-bit integer. Feed `start()` to the peer first."""

    def __init__(self, local: Identity, peer: str, challenge: int) -> None:
        super().__init__(local, challenge, _State.STATUS)
        self.peer = peer

    def start(self) -> bytes:
        name = self.local.name.encode()
        head = struct.pack(">cQIH", b"N", self.local.flags, self.local.creation, len(name))
        return self._send(head, name).data

    def eof(self) -> HandshakeRefused:
        """The meaning of the peer's having closed now."""
        if self._state is _State.ACK:  # it got our digest and left without a word: it did not like it
            return self._wrong_cookie()
        return self._refused(
            "closed",
            f"closed instead of sending the {self._state.value} message",
            "is the node stopping, or is this not its distribution port?",
        )

    def _message(self, message: bytes) -> list[Event]:
        match self._state, message[:1]:
            case _State.STATUS, b"s":
                return self._status(message[1:].decode("latin-1"))
            case _State.CHALLENGE, b"N":
                return self._answer(message)
            case _State.ACK, b"a" if len(message) == 17:
                if not hmac.compare_digest(message[1:], digest(self.local.cookie_bytes, self._challenge)):
                    raise self._wrong_cookie()
                return [self._established()]
        raise self._broken(message)

    def _status(self, status: str) -> list[Event]:
        match status:
            case "ok" | "ok_simultaneous":
                self._state = _State.CHALLENGE
                return []
            case "alive":
                # The peer still holds a connection under our name. Ours are never duplicated by us, so that one is
                # dead and only not detected yet: "true" makes the peer drop it and go on with this one.
                self._state = _State.CHALLENGE
                return [self._send(b"strue")]
            case "nok":
                raise self._refused(
                    "nok",
                    "a connection between the two names is being set up already",
                    "give each connection a name of its own",
                )
            case "not_allowed":
                raise self._refused(
                    "not_allowed",
                    f"the node does not let {self.local.name} in",
                    "see its net_kernel:allow/1 and its required distribution flags",
                )
        raise self._refused("protocol", f"unknown status {status[:40]!r}")

    def _answer(self, message: bytes) -> list[Event]:
        _tag, flags, challenge, creation, length = struct.unpack_from(">cQIIH", message)
        name = message[19 : 19 + length].decode()
        if len(message) < 19 + length:
            raise self._broken(message)
        if name != self.peer:
            raise self._refused("name", f"the node that answered is {name}", "dial the address of the node meant")
        missing = MANDATORY & ~flags
        if missing:
            raise self._refused("not_allowed", f"the node lacks {missing!r}", "OTP 25 or later is needed")
        self.peer_flags, self.peer_creation = flags, creation
        self._state = _State.ACK
        reply = struct.pack(">cI", b"r", self._challenge)
        return [self._send(reply, digest(self.local.cookie_bytes, challenge))]


class Acceptor(_Handshake):
    """Our side when we are dialled. `status` is what the initiator is told, once its name is known."""

    def __init__(self, local: Identity, challenge: int, status: str = "ok") -> None:
        super().__init__(local, challenge, _State.NAME)
        self._status = status

    def _message(self, message: bytes) -> list[Event]:
        match self._state, message[:1]:
            case _State.NAME, b"N":
                return self._name(message)
            case _State.STATUS_AGAIN, b"s":
                if message != b"strue":
                    raise self._refused("alive", "the peer takes the existing connection for a live one")
                return [self._challenge_it()]
            case _State.REPLY, b"r" if len(message) == 21:
                if not hmac.compare_digest(message[5:], digest(self.local.cookie_bytes, self._challenge)):
                    raise self._wrong_cookie()
                theirs = int.from_bytes(message[1:5], "big")
                ack = self._send(b"a", digest(self.local.cookie_bytes, theirs))
                return [ack, self._established()]
        raise self._broken(message)

    def _name(self, message: bytes) -> list[Event]:
        _tag, flags, creation, length = struct.unpack_from(">cQIH", message)
        if len(message) < 15 + length:
            raise self._broken(message)
        self.peer = message[15 : 15 + length].decode()
        self.peer_flags, self.peer_creation = flags, creation
        status = self._status if not MANDATORY & ~flags else "not_allowed"
        events: list[Event] = [self._send(b"s", status.encode())]
        if status == "alive":
            self._state = _State.STATUS_AGAIN
        elif status in ("ok", "ok_simultaneous"):
            events.append(self._challenge_it())
        else:
            self._state = _State.DONE
        return events

    def _challenge_it(self) -> Send:
        self._state = _State.REPLY
        name = self.local.name.encode()
        identity = self.local
        head = struct.pack(">cQIIH", b"N", identity.flags, self._challenge, identity.creation, len(name))
        return self._send(head, name)
