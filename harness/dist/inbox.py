"""What is done for every call, sans-I/O: a frame spliced together, and its answer found in what was read.

There is a compiled version of all this: see `core`.
"""

from __future__ import annotations

import struct
from typing import Any

from harness.dist.protocol.framing import MAX_PACKET, Deframer, frame

REPLY, DOWN, FAILED = 1, 2, 3
"""An answer: ``{Reference, Result}`` came; the process that was spawned ended; none was spawned."""

DOWN_HEAD = b"p\x83h\4a\x1cX"
"""``{28, their pid, our pid, reference}`` up to the tag of their pid."""

_u64 = struct.Struct(">Q")


class Call:
    """A call under way: `frame` is what is sent for it.

    Once it is `done`, `kind` tells the answer: REPLY and DOWN have their term encoded in `packet` from `offset`,
    FAILED has the reason as `packet`; 0: the connection was lost.
    """

    __slots__ = ("done", "frame", "kind", "offset", "packet", "unsent", "waiter")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.kind = 0
        self.packet: Any = None
        self.offset = 0
        self.done = False
        self.unsent = False  # the connection was lost before `frame` was handed to the kernel
        self.waiter: Any = None  # whom to wake, as the pump likes it


class Inbox:
    """Cuts what is read into packets, and finds the calls they answer.

    What surrounds the number of a call is learnt from the first answer of its kind, being the same in every later one:
    ``reply_prefix`` ends before the number; ``down_middle`` stands at ``down_middle_at`` and ends before it;
    ``spawned_prefix`` ends before it, and there is a pid at ``spawned_pid_at``.
    """

    def __init__(self, max_packet: int = MAX_PACKET) -> None:
        self.reply_prefix = b"\0"
        self.spawned_prefix, self.spawned_pid_at = b"\0", 0
        self.down_middle, self.down_middle_at = b"\0", 0
        self.others: list[bytes] = []
        self.answered: list[Call] = []
        self._deframe = Deframer(max_packet).receive

    def receive(self, data: bytes, calls: dict[int, Call]) -> None:
        """Moves the calls that `data` answers from `calls` to ``answered``; appends all other packets to ``others``,
        ticks as b"".

        Raises DecodeError (see Deframer); what was answered before is in ``answered`` all the same.
        """
        prefix, middle, middle_at = self.reply_prefix, self.down_middle, self.down_middle_at
        for packet in self._deframe(data):
            if packet.startswith(prefix) and len(packet) > len(prefix) + 8:
                kind, at = REPLY, len(prefix)
            elif packet.startswith(DOWN_HEAD) and packet.startswith(middle, middle_at):
                kind, at = DOWN, middle_at + len(middle)
                if len(packet) < at + 10 or packet[at + 8] != 131:
                    self.others.append(packet)
                    continue
            elif (
                packet.startswith(self.spawned_prefix) and packet[self.spawned_pid_at : self.spawned_pid_at + 1] == b"X"
            ):
                continue
            else:
                self.others.append(packet)
                continue
            call = calls.pop(_u64.unpack_from(packet, at)[0], None)
            if call is not None:  # None: it came after its caller had given up
                call.kind, call.packet, call.offset = kind, packet, at + 7 + kind
                call.done = True
                self.answered.append(call)


def splice(head: bytes, number: int, middle: bytes, again: bytes | None, args: bytes, tail: bytes) -> bytes:
    """A packet, length included: head, number, middle, args, tail; after the middle number and `again`, if given."""
    digits = _u64.pack(number)
    if again is None:
        return frame(head, digits, middle, args, tail)
    return frame(head, digits, middle, digits, again, args, tail)
