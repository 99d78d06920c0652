"""Calls over a connection, sans-I/O: `rpc` through the peer's rex, `erpc` by SPAWN_REQUEST.

What we send is spliced from pieces encoded once per connection; what we receive becomes one of a few events, with the
message left undecoded: the caller who waits for it decodes it, not the one reader of the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness.dist.arguments import listed
from harness.dist.core import Call, Inbox, splice
from harness.dist.inbox import DOWN_HEAD
from harness.dist.protocol.control import PASS_THROUGH, Control, Unknown, typed
from harness.dist.protocol.framing import MAX_PACKET, frame
from harness.errors import DecodeError
from harness.etf import Atom, DecodeOptions, Pid, Reference, Term, decode, encode, encode_atom

_MAGIC = b"\x83"

_SEND, _REG_SEND = 2, 6
_SPAWN_REQUEST, _SPAWN_REPLY = 29, 31


@dataclass(slots=True)
class Reply:
    """A message ``{Reference, Result}`` to us: the answer to call `number`, encoded in `packet` from `offset`."""

    number: int
    packet: bytes
    offset: int


@dataclass(slots=True)
class Down:
    """The process spawned by call `number` ended; its exit reason is encoded in `packet` from `offset`."""

    number: int
    packet: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """Call `number` started no process."""

    number: int
    reason: Term


@dataclass(frozen=True, slots=True)
class IoRequest:
    """A process with us as its group leader wants to write or read. Unanswered it would wait forever."""

    sender: Pid
    reply_as: Term
    request: Term


@dataclass(frozen=True, slots=True)
class Other:
    """Any other control message; `message` is None where it carries none."""

    control: Control
    message: Term


SPAWNED = Other(Unknown((_SPAWN_REPLY,)), None)  # a process was spawned: nobody waits for that

Answer = Reply | Down | SpawnFailed
Event = Answer | IoRequest | Other


class Envelope:
    """What one connection writes, and how it recognises what is meant for it.

    Calls are numbered by whoever owns the connection; a number travels as the reference (series, high, low) of its
    call. `series` (below 2**18, the part of a reference's first word that counts) keeps the connections of one node
    apart. The pid is number 1 of this incarnation of the node.
    """

    def __init__(
        self,
        local: str,
        creation: int,
        series: int = 0,
        options: DecodeOptions | None = None,
        max_packet: int = MAX_PACKET,
    ) -> None:
        self.pid = Pid(Atom(local), 1, 0, creation)
        self._node = self.pid.node
        self._creation = creation
        self._series = series
        self._options = options or DecodeOptions()
        self._targets: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self._max_packet = max_packet
        self.inbox = Inbox(max_packet)  # it learns here what answers look like
        pid = encode(self.pid)
        self._ref = b"Z\0\3" + encode_atom(local) + struct.pack(">II", creation, series)
        rex = bytes((PASS_THROUGH,)) + _MAGIC + self._control(_REG_SEND, pid, encode_atom(""), encode_atom("rex"))
        self._call_head = rex + _MAGIC + b"h\3" + encode_atom("$gen_call") + b"h\2" + pid + self._ref
        self._call_mid = b"h\5" + encode_atom("call")
        # `user` as group leader: output of the called code goes to the node's own log, never to us
        self._user = encode_atom("user")
        self._cast_head = rex + _MAGIC + b"h\2" + encode_atom("$gen_cast") + b"h\5" + encode_atom("cast")
        self._spawn_head = bytes((PASS_THROUGH,)) + _MAGIC + b"h\6" + encode(_SPAWN_REQUEST) + self._ref
        self._spawn_mid = (
            pid + pid + encode((Atom("erpc"), Atom("execute_call"), 4)) + encode([Atom("monitor")])
            + _MAGIC + b"l\0\0\0\4" + self._ref
        )  # fmt: skip

    @staticmethod
    def _control(opcode: int, *encoded: bytes) -> bytes:
        return bytes((104, 1 + len(encoded))) + encode(opcode) + b"".join(encoded)

    # --- out ---------------------------------------------------------------------------------------------------

    def call(self, number: int, module: str, function: str, args: Sequence[Term]) -> bytes:
        """A call through `rex`; the answer is a Reply."""
        target = self._targets.get((module, function)) or self._target(module, function)
        encoded = encode(args if type(args) is list else listed(args))
        return splice(self._call_head, number, target[0], None, encoded, self._user)

    def spawn(self, number: int, module: str, function: str, args: Sequence[Term]) -> bytes:
        """A call in a process of its own, as `erpc` does; the answer is a Down or a SpawnFailed."""
        target = self._targets.get((module, function)) or self._target(module, function)
        encoded = encode(args if type(args) is list else listed(args))
        return splice(self._spawn_head, number, self._spawn_mid, target[1], encoded, b"j")

    def cast(self, module: str, function: str, args: Sequence[Term]) -> bytes:
        """A call without answer."""
        return frame(self._cast_head, self._target(module, function)[1], encode(listed(args)), self._user)

    def send_named(self, name: str, message: Term) -> bytes:
        head = self._control(_REG_SEND, encode(self.pid), encode_atom(""), encode_atom(name))
        return frame(bytes((PASS_THROUGH,)), _MAGIC, head, _MAGIC, encode(message))

    def send(self, to: Pid, message: Term) -> bytes:
        head = self._control(_SEND, encode_atom(""), encode(to))
        return frame(bytes((PASS_THROUGH,)), _MAGIC, head, _MAGIC, encode(message))

    def io_reply(self, request: IoRequest) -> bytes:
        """Output is taken and dropped; input is at its end."""
        kind = request.request[0] if type(request.request) is tuple and request.request else None
        match kind:
            case "put_chars" | "setopts" | "requests":
                answer: Term = Atom("ok")
            case "get_chars" | "get_line" | "get_until" | "get_password":
                answer = Atom("eof")
            case _:
                answer = (Atom("error"), Atom("enotsup"))
        return self.send(request.sender, (Atom("io_reply"), request.reply_as, answer))

    def _target(self, module: str, function: str) -> tuple[bytes, bytes]:
        """Encoded: what comes after the number of a call, of a spawn."""
        known = self._targets.get((module, function))
        if known is None:
            encoded = encode_atom(module) + encode_atom(function)
            known = self._call_mid + encoded, encoded
            if len(self._targets) < 10_000:
                self._targets[module, function] = known
        return known

    # --- in ----------------------------------------------------------------------------------------------------

    def result(self, event: Reply | Down | Call) -> Term:
        """The term an answer carries. Raises DecodeError."""
        value, end = decode(event.packet, event.offset, self._options)
        if end != len(event.packet):
            raise DecodeError("bytes left after the message", end)
        return value

    def receive(self, packet: bytes) -> Event:
        """What a packet (not a tick) says that the inbox does not know. Raises DecodeError."""
        if packet[:2] != b"p\x83":
            raise DecodeError("neither pass-through nor tick", 0, packet[0] if packet else None)
        control, end = decode(packet, 2, self._options)
        if type(control) is not tuple or not control or type(control[0]) is not int:
            raise DecodeError("malformed control message", 2)
        message_at = end + 1
        if end < len(packet) and packet[end] != 131:
            raise DecodeError("no version byte before the message", end, packet[end])
        carries = end < len(packet)
        match control:
            case (28, _, _, Reference() as ref) if carries and (number := self._number(ref)) is not None:
                self._learn_down(packet, end)
                return Down(number, packet, message_at)
            case (31, Reference() as ref, _, _, Atom() as reason) if (number := self._number(ref)) is not None:
                return SpawnFailed(number, reason)
            case (31, Reference() as ref, Pid(), int(), Pid()) if self._number(ref) is not None and not carries:
                self._learn_spawned(packet)
                return SPAWNED
        if control[0] in (2, 22) and packet.startswith(b"h\2Z", message_at):  # {reference, what its caller decodes
            ref, at = decode(packet, message_at + 2, self._options)
            if (number := self._number(ref)) is not None:
                self.inbox.reply_prefix = packet[: at - 8]
                return Reply(number, packet, at)
        message, last = decode(packet, message_at, self._options) if carries else (None, end)
        if last != len(packet):
            raise DecodeError("bytes left after the message", last)
        match control, message:
            case (2 | 22, _, self.pid, *_), ("io_request", Pid() as sender, reply_as, request):
                return IoRequest(sender, reply_as, request)
        return Other(*typed(control, carries, message))

    def _learn_down(self, packet: bytes, end: int) -> None:
        """``{28, their pid, our pid, reference}``: the part from the second pid to the number, and where it is."""
        if packet.startswith(DOWN_HEAD):
            at = _after_atom(packet, len(DOWN_HEAD)) + 12
            self.inbox.down_middle, self.inbox.down_middle_at = packet[at : end - 8], at

    def _learn_spawned(self, packet: bytes) -> None:
        """``{31, reference, our pid, flags, their pid}``: the part before the number, and where the last pid is."""
        number_at = _after_atom(packet, 9) + 8
        self.inbox.spawned_prefix = packet[:number_at]
        self.inbox.spawned_pid_at = _after_atom(packet, number_at + 9) + 14

    def _number(self, ref: Reference) -> int | None:
        """The number of the call that made `ref`, if this connection did."""
        if ref.node != self._node or ref.creation != self._creation or len(ref.ids) != 3 or ref.ids[0] != self._series:
            return None
        return (ref.ids[1] << 32) | ref.ids[2]


def _after_atom(packet: bytes, at: int) -> int:
    """The position after the (valid) atom at `at`: two tags have 1 byte of length, two have 2."""
    if packet[at] in (115, 119):
        return at + 2 + packet[at + 1]
    return at + 3 + int.from_bytes(packet[at + 1 : at + 3], "big")
