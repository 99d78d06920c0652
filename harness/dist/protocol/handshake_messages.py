"""The messages of handshake version 6 without their length (chapter Distribution Protocol, Distribution Handshake).

A reader raises ValueError or struct.error for what is not its message. More bytes after a name or a creation are
accepted and ignored, as the chapter demands.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

_name = struct.Struct(">cQIH")
_challenge = struct.Struct(">cQIIH")
_NAMED = b"snamed:"


@dataclass(frozen=True, slots=True)
class Name:
    """Who dials. `name` is its host only when it asks for a name (flag NAME_ME)."""

    flags: int
    creation: int
    name: str

    def pack(self) -> bytes:
        name = self.name.encode()
        return _name.pack(b"N", self.flags, self.creation, len(name)) + name

    @classmethod
    def read(cls, message: bytes) -> Name:
        tag, flags, creation, length = _name.unpack(message[: _name.size])
        return cls(flags, creation, _text(message, tag == b"N", _name.size, length))


@dataclass(frozen=True, slots=True)
class Named:
    """Status ``named:``: go on, under this name and this creation."""

    name: str
    creation: int

    def pack(self) -> bytes:
        name = self.name.encode()
        return _NAMED + len(name).to_bytes(2, "big") + name + self.creation.to_bytes(4, "big")

    @classmethod
    def read(cls, message: bytes) -> Named:
        at = len(_NAMED) + 2
        end = at + int.from_bytes(message[at - 2 : at], "big")
        name = _text(message, message.startswith(_NAMED), at, end - at)
        if len(message) < end + 4:
            raise ValueError("too short")
        return cls(name, int.from_bytes(message[end : end + 4], "big"))


@dataclass(frozen=True, slots=True)
class Status:
    """Any other status, either way."""

    text: str

    def pack(self) -> bytes:
        return b"s" + self.text.encode()


def read_status(message: bytes) -> Named | Status:
    if message[:1] != b"s":
        raise ValueError("no status")
    return Named.read(message) if message.startswith(_NAMED) else Status(message[1:].decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Challenge:
    """Who answers, and the number it wants to see the cookie proven with."""

    flags: int
    challenge: int
    creation: int
    name: str

    def pack(self) -> bytes:
        name = self.name.encode()
        return _challenge.pack(b"N", self.flags, self.challenge, self.creation, len(name)) + name

    @classmethod
    def read(cls, message: bytes) -> Challenge:
        tag, flags, challenge, creation, length = _challenge.unpack(message[: _challenge.size])
        return cls(flags, challenge, creation, _text(message, tag == b"N", _challenge.size, length))


@dataclass(frozen=True, slots=True)
class Reply:
    """The proof of who dials, and its own challenge."""

    challenge: int
    proof: bytes

    def pack(self) -> bytes:
        return b"r" + self.challenge.to_bytes(4, "big") + self.proof

    @classmethod
    def read(cls, message: bytes) -> Reply:
        if message[:1] != b"r" or len(message) != 21:
            raise ValueError("no challenge reply")
        return cls(int.from_bytes(message[1:5], "big"), message[5:])


@dataclass(frozen=True, slots=True)
class Ack:
    """The proof of who was dialled."""

    proof: bytes

    def pack(self) -> bytes:
        return b"a" + self.proof

    @classmethod
    def read(cls, message: bytes) -> Ack:
        if message[:1] != b"a" or len(message) != 17:
            raise ValueError("no challenge ack")
        return cls(message[1:])


Message = Name | Named | Status | Challenge | Reply | Ack


def digest(cookie: bytes, challenge: int) -> bytes:
    """The proof that one knows `cookie` (the protocol prescribes MD5)."""
    return hashlib.md5(cookie + str(challenge).encode(), usedforsecurity=False).digest()


def proven(proof: bytes, cookie: bytes, challenge: int) -> bool:
    return hmac.compare_digest(proof, digest(cookie, challenge))


def _text(message: bytes, right_tag: bool, at: int, length: int) -> str:
    if not right_tag:
        raise ValueError("another message")
    if len(message) < at + length:
        raise ValueError("too short")
    text = message[at : at + length].decode()  # UnicodeDecodeError is a ValueError
    if len(text) > 255 or not text.isprintable():  # it is shown to people and becomes an atom
        raise ValueError("no name")
    return text
