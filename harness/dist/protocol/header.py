"""Distribution headers, receiving side, sans-I/O (ERTS User's Guide, External Term Format: Distribution Header).

A header tells which atoms the references in the terms after it stand for; those it names anew stay in a cache of 2,048
entries that both sides keep alike. A message may come in fragments, those of several messages mixed; its header is in
the first of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.dist.protocol.framing import MAX_PACKET
from harness.errors import DecodeError
from harness.etf import Term, decode

VERSION = 131
NORMAL, FIRST, NEXT = 68, 69, 70
FRAGMENT_HEAD = 18  # 131, tag, sequence id and fragment id of 8 bytes each
ENTRIES = 8 * 256  # segments and their entries
NEW, LONG = 8, 1  # in the half byte of an entry, in the last half byte


@dataclass(frozen=True, slots=True)
class Whole:
    """Control and message of a complete message, without version bytes, and what its atom references stand for."""

    data: bytes
    atoms: tuple[Term, ...]


@dataclass(slots=True)
class _Sequence:
    atoms: tuple[Term, ...]
    next_id: int
    data: bytearray = field(default_factory=bytearray)


class _Absent:
    """What an entry of the cache holds before its first use; an atom may be None."""


class Inbound:
    """What one connection receives. `limit`: bytes of all unfinished messages; `max_sequences`: their number."""

    def __init__(self, limit: int = MAX_PACKET, max_sequences: int = 4096) -> None:
        self._cache: list[Term] = [_Absent] * ENTRIES
        self._sequences: dict[int, _Sequence] = {}
        self._limit = limit
        self._max_sequences = max_sequences
        self._pending = 0

    def receive(self, packet: bytes) -> Whole | None:
        """The message that `packet` (not a tick) completes, None for a fragment before the last.

        Raises DecodeError, after which the connection is of no use: the caches differ.
        """
        if packet[:1] != b"\x83":
            raise DecodeError("no distribution header", 0, packet[0] if packet else None)
        tag = packet[1] if len(packet) > 1 else None
        if tag == NORMAL:
            atoms, end = self._references(packet, 2)
            return Whole(packet[end:], atoms)
        if tag not in (FIRST, NEXT):
            raise DecodeError("unknown distribution header", 1, tag)
        if len(packet) < FRAGMENT_HEAD:
            raise DecodeError("truncated", len(packet), tag)
        sequence_id, fragment_id = int.from_bytes(packet[2:10], "big"), int.from_bytes(packet[10:18], "big")
        if tag == FIRST:
            return self._first(packet, sequence_id, fragment_id)
        sequence = self._sequences.get(sequence_id)
        if sequence is None or fragment_id != sequence.next_id:
            raise DecodeError(f"fragment {fragment_id} of sequence {sequence_id} is out of place", 2, tag)
        return self._more(sequence_id, sequence, memoryview(packet)[FRAGMENT_HEAD:])

    def _first(self, packet: bytes, sequence_id: int, fragment_id: int) -> Whole | None:
        if sequence_id in self._sequences or fragment_id == 0:
            raise DecodeError(f"fragment {fragment_id} cannot begin sequence {sequence_id}", 2, FIRST)
        if len(self._sequences) >= self._max_sequences:
            raise DecodeError(f"more than {self._max_sequences} unfinished messages", 2, FIRST)
        atoms, end = self._references(packet, FRAGMENT_HEAD)
        sequence = self._sequences[sequence_id] = _Sequence(atoms, fragment_id)
        return self._more(sequence_id, sequence, memoryview(packet)[end:])

    def _more(self, sequence_id: int, sequence: _Sequence, data: memoryview) -> Whole | None:
        self._pending += len(data)
        if self._pending > self._limit:
            cause = f"unfinished messages of {self._pending} bytes, limit {self._limit}: see max_packet"
            raise DecodeError(cause, FRAGMENT_HEAD)
        sequence.data += data
        sequence.next_id -= 1
        if sequence.next_id:
            return None
        del self._sequences[sequence_id]
        self._pending -= len(sequence.data)
        return Whole(bytes(sequence.data), sequence.atoms)

    def _references(self, packet: bytes, pos: int) -> tuple[tuple[Term, ...], int]:
        """The atoms that a header refers to, and the position after it; `pos` is that of their number."""
        try:
            count = packet[pos]
            if not count:
                return (), pos + 1
            flags = pos + 1
            long = half_byte(packet, flags, count) & LONG
            at = flags + count // 2 + 1
            atoms: list[Term] = []
            for index in range(count):
                kind = half_byte(packet, flags, index)
                entry = (kind & 7) << 8 | packet[at]
                at += 1
                if kind & NEW:
                    start = at + 1 + long
                    at = start + int.from_bytes(packet[at:start], "big")
                    self._cache[entry] = _atom(packet[start:at], start)
                elif self._cache[entry] is _Absent:
                    raise DecodeError(f"entry {entry} of the atom cache is empty", at - 1)
                atoms.append(self._cache[entry])
        except IndexError:
            raise DecodeError("truncated distribution header", len(packet)) from None
        if at > len(packet):
            raise DecodeError("truncated distribution header", len(packet))
        return tuple(atoms), at


def half_byte(packet: bytes, flags: int, index: int) -> int:
    """Half byte number `index` from position `flags`, the less significant one of each byte first."""
    return packet[flags + index // 2] >> (index & 1) * 4 & 15


def _atom(text: bytes, at: int) -> Term:
    try:
        return decode(b"v" + len(text).to_bytes(2, "big") + text)[0]
    except DecodeError as error:
        raise DecodeError("malformed atom in a distribution header", at) from error
