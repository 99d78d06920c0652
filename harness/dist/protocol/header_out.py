"""Distribution headers, sending side, sans-I/O: see `header`.

What is written as a plain packet is turned into one with a header just before it leaves: atoms become references, a
long message becomes fragments. Who builds packets needs to know nothing of it.
"""

from __future__ import annotations

import struct
import zlib

from harness.dist.protocol.framing import TICK, frame
from harness.dist.protocol.header import ENTRIES, FIRST, LONG, NEW, NEXT, NORMAL, VERSION

FRAGMENT = 64 * 1024  # bytes of a message in one packet; nodes of OTP 25 to 27 take the same
_MAX_REFERENCES = 255
_TERMS = 512  # that many terms of a message are looked through for atoms; the rest goes as it is

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_NUL = b"\0"


class Outbound:
    """What one connection sends. `fragments`: whether both sides have the flag FRAGMENTS."""

    def __init__(self, *, fragments: bool = True, fragment: int = FRAGMENT) -> None:
        self._cache: list[bytes | None] = [None] * ENTRIES
        self._fragments = fragments
        self._fragment = fragment
        self._sequence = 0

    def packets(self, plain: bytes) -> list[bytes]:
        """A plain packet as `control.write` makes it (length, 112, 131, ...; or a tick) as it is to be sent.

        In the order of these calls and nothing left out: the peer's cache follows. Other packets may go between the
        fragments of one, but for a first fragment, which is a packet of its own here: the first of the list.
        """
        if plain == TICK:
            return [plain]
        found, end = _atoms(plain, 6)
        message_at = end
        if end < len(plain):
            message_at = end + 1  # no version byte either
            found += _atoms(plain, message_at, _TERMS)[0]
        references, replaced = self._references(plain, found)
        control = _spliced(plain, 6, end, replaced)
        message = _spliced(plain, message_at, len(plain), replaced)
        if not self._fragments or len(message) <= self._fragment:
            return [frame(bytes((VERSION, NORMAL)), references, control, message)]
        self._sequence += 1
        cuts = range(0, len(message), self._fragment)
        packets = []
        for number, at in zip(range(len(cuts), 0, -1), cuts, strict=True):
            tag = NEXT if at else FIRST
            head = struct.pack(">BBQQ", VERSION, tag, self._sequence, number)
            before = (head,) if at else (head, references, control)
            packets.append(frame(*before, message[at : at + self._fragment]))
        return packets

    def _references(self, plain: bytes, found: list[tuple[int, int, int]]) -> tuple[bytes, list[tuple[int, int, int]]]:
        """The header's part on atoms; which bytes (from, to) are to become which reference."""
        indexes: dict[bytes, int] = {}
        taken: set[int] = set()
        kinds: list[int] = []
        entries: list[tuple[int, bytes | None]] = []
        replaced = []
        for start, text_at, end in found:
            text = plain[text_at:end]
            index = indexes.get(text)
            if index is None:
                entry = zlib.crc32(text) % ENTRIES
                if len(kinds) == _MAX_REFERENCES or entry in taken:
                    continue  # stays an atom in full
                taken.add(entry)
                index = indexes[text] = len(kinds)
                known = self._cache[entry] == text
                self._cache[entry] = text
                kinds.append(entry >> 8 | (0 if known else NEW))
                entries.append((entry & 255, None if known else text))
            replaced.append((start, end, index))
        if not kinds:
            return _NUL, []
        long = any(text is not None and len(text) > 255 for _, text in entries)
        parts = [bytes((len(kinds),)), _half_bytes([*kinds, LONG if long else 0])]
        for internal, new in entries:
            parts.append(bytes((internal,)))
            if new is not None:
                parts += (len(new).to_bytes(1 + long, "big"), new)
        return b"".join(parts), replaced


def _half_bytes(values: list[int]) -> bytes:
    if len(values) % 2:
        values = [*values, 0]
    return bytes(low | high << 4 for low, high in zip(values[::2], values[1::2], strict=True))


def _spliced(plain: bytes, start: int, end: int, replaced: list[tuple[int, int, int]]) -> bytes:
    parts: list[bytes] = []
    for atom_start, atom_end, index in replaced:
        if start <= atom_start < end:
            parts += (plain[start:atom_start], bytes((82, index)))
            start = atom_end
    parts.append(plain[start:end])
    return b"".join(parts)


# --- finding the atoms of a term that we encoded ----------------------------------------------------------------------

_FIXED = {70: 9, 97: 2, 98: 5, 106: 1}
_AROUND_NODE = {88: (1, 12), 89: (1, 8), 120: (1, 12)}  # bytes before and after the name of a pid's, a port's node


def _atoms(data: bytes, pos: int, budget: int = 1 << 62) -> tuple[list[tuple[int, int, int]], int]:
    """The atoms (start, start of the text, end) of the term at `pos`, and the position after it.

    The search ends, at a position inside, after `budget` terms. Funs are left alone: they count their own bytes.
    """
    found: list[tuple[int, int, int]] = []
    todo = 1
    after = 0  # bytes behind the atom that comes next
    while todo and budget:
        todo -= 1
        budget -= 1
        tag = data[pos]
        if tag == 119:
            end = pos + 2 + data[pos + 1]
            found.append((pos, pos + 2, end))
            pos, after = end + after, 0
        elif tag == 118:
            end = pos + 3 + _u16(data, pos + 1)[0]
            found.append((pos, pos + 3, end))
            pos, after = end + after, 0
        elif tag in _FIXED:
            pos += _FIXED[tag]
        elif tag == 109:
            pos += 5 + _u32(data, pos + 1)[0]
        elif tag == 104:
            todo += data[pos + 1]
            pos += 2
        elif tag == 108:
            todo += _u32(data, pos + 1)[0] + 1
            pos += 5
        elif tag in _AROUND_NODE:
            before, after = _AROUND_NODE[tag]
            pos += before
            todo += 1
        elif tag == 90:
            after = 4 + 4 * _u16(data, pos + 1)[0]
            pos += 3
            todo += 1
        elif tag == 107:
            pos += 3 + _u16(data, pos + 1)[0]
        elif tag == 116:
            todo += 2 * _u32(data, pos + 1)[0]
            pos += 5
        elif tag == 105:
            todo += _u32(data, pos + 1)[0]
            pos += 5
        elif tag == 77:
            pos += 6 + _u32(data, pos + 1)[0]
        elif tag == 110:
            pos += 3 + data[pos + 1]
        elif tag == 111:
            pos += 6 + _u32(data, pos + 1)[0]
        elif tag == 113:
            pos += 1
            todo += 3
        elif tag == 112:
            pos += 1 + _u32(data, pos + 1)[0]
        else:
            raise AssertionError(f"our own encoder wrote tag {tag}")
    return found, pos
