"""A connection with distribution headers: what stands around `Connection`, which knows plain packets only.

Offered when asked for (``atom_cache=True``): for calls plain packets are faster, see docs/distribution.md.
"""

from __future__ import annotations

from functools import cached_property
from typing import cast

from harness.dist.calls import SPAWNED, Down, Envelope, Event, IoRequest, Other, Reply, SpawnFailed
from harness.dist.core import Call
from harness.dist.protocol.control import Send, SpawnReply, read
from harness.dist.protocol.flags import HEADER, Flag
from harness.dist.protocol.framing import LONGEST, MAX_PACKET, TICK, Deframer, frame
from harness.dist.protocol.header import Inbound, Whole
from harness.dist.protocol.header_out import FRAGMENT, Outbound
from harness.dist.runtime import Stream
from harness.errors import DecodeError
from harness.etf import Atom, DecodeOptions, Pid, Reference, Term, decode


class HeadedStream:
    """`sendall` takes plain packets, whole ones or not, and sends them with headers. All else is the `stream`'s."""

    def __init__(self, stream: Stream, *, fragments: bool) -> None:
        self._stream = stream
        self._packets = Outbound(fragments=fragments).packets
        self._deframe = Deframer(LONGEST).receive
        self.recv = stream.recv
        self.settimeout = stream.settimeout
        self.offer = stream.offer
        self.arrived = stream.arrived
        self.close = stream.close

    def sendall(self, data: bytes, /, wait: bool = True) -> bool:
        batch: list[bytes] = []
        size = 0
        taken = True
        for plain in self._deframe(data):
            for packet in self._packets(frame(plain)) if plain else [TICK]:
                batch.append(packet)
                size += len(packet)
                if size > FRAGMENT and taken:  # by fragments: a tick may be offered between two
                    taken = self._stream.sendall(b"".join(batch), wait)
                    batch.clear()
                    size = 0
        return self._stream.sendall(b"".join(batch), wait)


class HeadedEnvelope(Envelope):
    """Recognises answers in what came with a header; what is written stays plain.

    The `packet` of its events is a Whole: the atoms of a header are known to who received it only.
    """

    @cached_property
    def _inbound(self) -> Inbound:
        return Inbound(self._max_packet)

    def receive(self, packet: bytes) -> Event:
        whole = self._inbound.receive(packet)
        if whole is None:
            return SPAWNED  # a fragment before the last: nobody waits for that
        answer = self._answer(whole)
        if answer is not None:
            return answer
        control, message = read(whole.data, self._options, whole.atoms)
        match control, message:
            case SpawnReply(ref=ref, result=result), _ if (number := self._number(ref)) is not None:
                return SpawnFailed(number, result) if type(result) is Atom else SPAWNED
            case Send(to=self.pid), ("io_request", Pid() as sender, reply_as, request):
                return IoRequest(sender, reply_as, request)
        return Other(control, message)

    def _answer(self, whole: Whole) -> Reply | Down | None:
        control, end = decode(whole.data, 0, self._options, whole.atoms)
        match control:
            case (2 | 22, *_) if whole.data.startswith(b"h\2Z", end):
                ref, end = decode(whole.data, end + 2, self._options, whole.atoms)
                kind: type[Reply | Down] = Reply
            case (28, _, _, ref):
                kind = Down
            case _:
                return None
        number = self._number(ref) if type(ref) is Reference else None
        return None if number is None else kind(number, cast(bytes, whole), end)

    def result(self, event: Reply | Down | Call) -> Term:
        whole = cast(Whole, event.packet)
        value, end = decode(whole.data, event.offset, self._options, whole.atoms)
        if end != len(whole.data):
            raise DecodeError("bytes left after the message", end)
        return value


def wired(
    stream: Stream,
    common: int,
    local: str,
    creation: int,
    series: int,
    limits: DecodeOptions | None = None,
    max_packet: int = MAX_PACKET,
) -> tuple[Stream, Envelope]:
    """Stream and envelope of a connection, by the flags that both sides offered."""
    if not common & Flag.DIST_HDR_ATOM_CACHE:
        return stream, Envelope(local, creation, series, limits, max_packet)
    with_fragments = common & HEADER == HEADER
    envelope = HeadedEnvelope(local, creation, series, limits, max_packet)
    return HeadedStream(stream, fragments=with_fragments), envelope
