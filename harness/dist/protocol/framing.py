"""Packets of an established connection, sans-I/O: 4 bytes length, then the packet; an empty one is a tick."""

from __future__ import annotations

from harness.errors import DecodeError, EncodeError

TICK = b"\0\0\0\0"

LONGEST = 0xFFFFFFFF
"""Bytes of a packet at most: its length has four."""
MAX_PACKET = 1 << 28
"""Bytes of a packet that a peer may send us, unless told otherwise."""


def frame(*parts: bytes) -> bytes:
    """`parts` as one packet. Raises EncodeError: it has no room for them."""
    size = sum(map(len, parts))
    if size > LONGEST:
        raise EncodeError("encode", f"a packet of {size} bytes, the protocol allows {LONGEST}")
    return b"".join((size.to_bytes(4, "big"), *parts))


class Deframer:
    """Cuts a byte stream into packets. Work is linear in the bytes, however they arrive."""

    __slots__ = ("_chunks", "_have", "_limit", "_need")

    def __init__(self, limit: int = MAX_PACKET) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []  # an incomplete packet, length included
        self._have = 0
        self._need = 4  # bytes without which there is nothing to cut

    @property
    def pending(self) -> bool:
        """Whether the beginning of a packet is held here."""
        return bool(self._chunks)

    def receive(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes, ticks as b"". Raises DecodeError for one longer than the limit."""
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        packets: list[bytes] = []
        pos, size = 0, len(data)
        self._need = 4
        while size - pos >= 4:
            end = pos + 4 + int.from_bytes(data[pos : pos + 4], "big")
            if end - pos - 4 > self._limit:
                raise DecodeError(f"a packet of {end - pos - 4} bytes, limit {self._limit}: see max_packet", pos)
            if end > size:
                self._need = end - pos
                break
            packets.append(data[pos + 4 : end])
            pos = end
        if pos < size:
            self._chunks.append(data[pos:] if pos else data)
            self._have = size - pos
        return packets
