"""Control messages as bytes, sans-I/O (ERTS User's Guide, Distribution Protocol: Protocol between Connected Nodes).

Packets without distribution header: ``112, 131, Control [131, Message]``. What `LAYOUTS` says about the opcodes of the
chapter serves reading and writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, get_type_hints

from harness.dist.protocol.framing import frame
from harness.dist.protocol.operations import (
    AliasSend,
    Control,
    DemonitorP,
    Exit,
    Exit2,
    GroupLeader,
    Link,
    MonitorP,
    MonitorPExit,
    NodeLink,
    RegSend,
    Send,
    SpawnReply,
    SpawnRequest,
    Unknown,
    Unlink,
    UnlinkId,
    UnlinkIdAck,
)
from harness.errors import DecodeError, EncodeError
from harness.etf import DEFAULT, Atom, DecodeOptions, Term, decode, encode

__all__ = [
    "LAYOUTS",
    "PASS_THROUGH",
    "AliasSend",
    "Control",
    "DemonitorP",
    "Exit",
    "Exit2",
    "GroupLeader",
    "Layout",
    "Link",
    "MonitorP",
    "MonitorPExit",
    "NodeLink",
    "RegSend",
    "Send",
    "SpawnReply",
    "SpawnRequest",
    "Unknown",
    "Unlink",
    "UnlinkId",
    "UnlinkIdAck",
    "read",
    "typed",
    "untyped",
    "write",
]

PASS_THROUGH = 112
_HEAD = bytes((PASS_THROUGH, 131))


# --- the chapter's table ----------------------------------------------------------------------------------------------

_MESSAGE = "message"  # what follows is for the receiver; else it is the field of that name


def _accepted(hint: Any) -> frozenset[type] | None:
    """The types of a field; None for any term."""
    if hint is Any:
        return None
    parts = hint.__args__ if isinstance(hint, UnionType) else (hint,)
    return frozenset(getattr(part, "__origin__", part) for part in parts)


class Layout:
    """How one opcode lays out its class: the names of the elements after it ("-": kept for old nodes, nothing in
    it) and what travels behind the tuple, if anything.
    """

    def __init__(self, opcode: int, kind: type[Any], elements: str = "", payload: str = "") -> None:
        self.opcode = opcode
        self.kind = kind
        self.payload = payload
        self.elements = elements.split()
        hints = get_type_hints(kind)
        self.accepted = [_accepted(hints.get(name, Any)) for name in self.elements]
        has = {field.name for field in fields(kind)}
        # A class has several layouts only by what these say
        self.key = (kind, "sender" in self.elements, "token" in self.elements, payload in has)


LAYOUTS = {
    layout.opcode: layout
    for layout in (
        Layout(1, Link, "sender to"),
        Layout(2, Send, "- to", _MESSAGE),
        Layout(3, Exit, "sender to reason"),
        Layout(4, Unlink, "sender to"),
        Layout(5, NodeLink),
        Layout(6, RegSend, "sender - name", _MESSAGE),
        Layout(7, GroupLeader, "sender to"),
        Layout(8, Exit2, "sender to reason"),
        Layout(12, Send, "- to token", _MESSAGE),
        Layout(13, Exit, "sender to token reason"),
        Layout(16, RegSend, "sender - name token", _MESSAGE),
        Layout(18, Exit2, "sender to token reason"),
        Layout(19, MonitorP, "sender to ref"),
        Layout(20, DemonitorP, "sender to ref"),
        Layout(21, MonitorPExit, "sender to ref reason"),
        Layout(22, Send, "sender to", _MESSAGE),
        Layout(23, Send, "sender to token", _MESSAGE),
        Layout(24, Exit, "sender to", "reason"),
        Layout(25, Exit, "sender to token", "reason"),
        Layout(26, Exit2, "sender to", "reason"),
        Layout(27, Exit2, "sender to token", "reason"),
        Layout(28, MonitorPExit, "sender to ref", "reason"),
        Layout(29, SpawnRequest, "ref sender group_leader mfa options", _MESSAGE),
        Layout(30, SpawnRequest, "ref sender group_leader mfa options token", _MESSAGE),
        Layout(31, SpawnReply, "ref to flags result"),
        Layout(32, SpawnReply, "ref to flags result token"),
        Layout(33, AliasSend, "sender alias", _MESSAGE),
        Layout(34, AliasSend, "sender alias token", _MESSAGE),
        Layout(35, UnlinkId, "id sender to"),
        Layout(36, UnlinkIdAck, "id sender to"),
    )
}
_BY_KEY = {layout.key: layout for layout in LAYOUTS.values()}
_EMPTY = Atom("")
_REASONED = frozenset((Exit, Exit2, MonitorPExit))  # their reason is a payload, or an element


# --- reading ----------------------------------------------------------------------------------------------------------


def read(packet: bytes, options: DecodeOptions = DEFAULT, atoms: Sequence[Term] | None = None) -> tuple[Control, Term]:
    """A packet (not a tick) and its message, None where it has none or it became a field. Raises DecodeError.

    With `atoms` it came with a distribution header and is the data of a `header.Whole`.
    """
    headed = atoms is not None
    if not headed and packet[:2] != _HEAD:
        raise DecodeError("neither pass-through nor tick", 0, packet[0] if packet else None)
    raw, end = decode(packet, 0 if headed else 2, options, atoms)
    if end == len(packet):
        return typed(raw, False)
    if not headed:
        if packet[end] != 131:
            raise DecodeError("no version byte before the message", end, packet[end])
        end += 1
    message, end = decode(packet, end, options, atoms)
    if end != len(packet):
        raise DecodeError("bytes left after the message", end)
    return typed(raw, True, message)


def typed(raw: Term, carried: bool, message: Term = None) -> tuple[Control, Term]:
    """A decoded control tuple, with the message if it `carried` one, as `read` gives them. Raises DecodeError."""
    if type(raw) is not tuple or not raw or type(raw[0]) is not int:
        raise _malformed(raw)
    layout = LAYOUTS.get(raw[0])
    if layout is None:
        return Unknown(raw), message
    if len(raw) != 1 + len(layout.elements) or carried != (layout.payload != ""):
        raise _malformed(raw)
    values = {}
    for name, accepted, value in zip(layout.elements, layout.accepted, raw[1:], strict=True):
        if accepted is not None and type(value) not in accepted:
            value = _atom(value)  # a name that is a plain value to Python
            if value is None or Atom not in accepted:
                raise _malformed(raw)
        values[name] = value
    values.pop("-", None)
    if layout.payload == _MESSAGE:
        if layout.kind is SpawnRequest:
            values["mfa"] = _mfa(raw)
            if type(message) is not list:
                raise _malformed(raw)
    elif layout.payload:
        values[layout.payload] = message
        message = None
    return layout.kind(**values), message


def _mfa(raw: tuple[Term, ...]) -> tuple[Atom, Atom, int]:
    match raw[4]:
        case (module, function, int() as arity) if arity >= 0 and type(arity) is int:
            named = _atom(module), _atom(function)
            if named[0] is not None and named[1] is not None:
                return named[0], named[1], arity
    raise _malformed(raw)


def _atom(value: Term) -> Atom | None:
    """The atom as such, of true, false and undefined too; None for any other term."""
    if type(value) is Atom:
        return value
    if value is None:
        return Atom("undefined")
    return Atom(str(value).lower()) if type(value) is bool else None


def _malformed(raw: Term) -> DecodeError:
    opcode = raw[0] if type(raw) is tuple and raw and type(raw[0]) is int else None
    return DecodeError("malformed control message" + ("" if opcode is None else f" {opcode}"), 2)


# --- writing ----------------------------------------------------------------------------------------------------------


def write(control: Control, message: Term = None, *, exit_payload: bool = True) -> bytes:
    """A whole packet, length included. Raises EncodeError.

    None is a term, too (undefined): whether there is a message follows from the operation. Without `exit_payload`
    (both sides have the flag EXIT_PAYLOAD, as all OTP since 22) reasons travel inside the tuple.
    """
    raw, carries, payload = untyped(control, message, exit_payload)
    return frame(_HEAD, encode(raw), *((b"\x83", encode(payload)) if carries else ()))


def untyped(control: Control, message: Term, exit_payload: bool = True) -> tuple[tuple[Term, ...], bool, Term]:
    """The control tuple; whether something goes behind it; what."""
    if type(control) is Unknown:
        return control.control, message is not None, message
    kind = type(control)
    sender = getattr(control, "sender", None) is not None
    token = getattr(control, "token", None) is not None
    layout = _BY_KEY.get((kind, sender, token, exit_payload and kind in _REASONED))
    if layout is None:
        raise EncodeError("encode", f"no control message is {control!r}")
    values = [_EMPTY if name == "-" else getattr(control, name) for name in layout.elements]
    if layout.payload and layout.payload != _MESSAGE:
        message = getattr(control, layout.payload)
    return (layout.opcode, *values), layout.payload != "", message
