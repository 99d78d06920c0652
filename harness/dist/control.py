"""Control messages, sans-I/O (ERTS User's Guide, Distribution Protocol: Protocol between Connected Nodes).

Packets without distribution header: ``112, 131, Control [131, Message]``.
"""

from __future__ import annotations

from harness.dist.framing import frame
from harness.errors import DecodeError
from harness.etf import DecodeOptions, Term, decode, encode

PASS_THROUGH = 112

_HEAD = bytes((PASS_THROUGH, 131))
_CARRY = frozenset((2, 6, 12, 16, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33, 34))


def read(packet: bytes, options: DecodeOptions | None = None) -> tuple[tuple[Term, ...], Term]:
    """Control and message of a packet (not a tick); the message is None where there is none. Raises DecodeError."""
    if packet[:2] != _HEAD:
        raise DecodeError("neither pass-through nor tick", 0, packet[0] if packet else None)
    options = options or DecodeOptions()
    control, end = decode(packet, 2, options)
    if type(control) is not tuple or not control or type(control[0]) is not int:
        raise DecodeError("malformed control message", 2)
    message: Term = None
    if end < len(packet):
        if packet[end] != 131:
            raise DecodeError("no version byte before the message", end, packet[end])
        message, end = decode(packet, end + 1, options)
        if end != len(packet):
            raise DecodeError("bytes left after the message", end)
    return control, message


def write(control: tuple[Term, ...], message: Term = None) -> bytes:
    """A whole packet, length included. Raises EncodeError.

    None is a term, too (undefined): whether there is a message follows from the operation.
    """
    carries = control[0] in _CARRY
    return frame(_HEAD, encode(control), *((b"\x83", encode(message)) if carries else ()))
