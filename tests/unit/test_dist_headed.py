"""A connection with distribution headers, in memory: its stream, and what its envelope recognises."""

from __future__ import annotations

from typing import Any

import pytest

from harness.dist.calls import SPAWNED, Down, Envelope, IoRequest, Other, Reply, SpawnFailed
from harness.dist.headed import HeadedEnvelope, HeadedStream, wired
from harness.dist.protocol.control import Control, Link, MonitorPExit, Send, SpawnReply, read, write
from harness.dist.protocol.flags import HEADER, HIDDEN, Flag
from harness.dist.protocol.framing import TICK, Deframer
from harness.dist.protocol.header import Inbound
from harness.dist.protocol.header_out import Outbound
from harness.errors import DecodeError
from harness.etf import Atom, Pid, Reference, Term

THEM = Pid(Atom("n1@n1"), 90, 1, 5)
NUMBER = 0x1_0000_0002


class Sink:
    """A stream that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes, wait: bool = True) -> bool:
        self.sent.append(data)
        return True

    recv = settimeout = offer = arrived = close = lambda *_: None


def ref(number: int, series: int = 3) -> Reference:
    return Reference(Atom("h@h"), 7, (series, number >> 32, number & 0xFFFFFFFF))


@pytest.fixture
def envelope() -> HeadedEnvelope:
    return HeadedEnvelope("h@h", 7, 3)


def received(envelope: Envelope, control: Control, message: Term = None, fragment: int = 1 << 16) -> Any:
    """What the last packet of a message says, and that those before say nothing."""
    *before, last = [
        envelope.receive(packet[4:]) for packet in Outbound(fragment=fragment).packets(write(control, message))
    ]
    assert all(event is SPAWNED for event in before)
    return last


@pytest.mark.parametrize("fragment", [10, 1 << 16])
def test_answers(envelope: HeadedEnvelope, fragment: int) -> None:
    for result in ([Atom("a"), True, bytes(100)], None, (Atom("ok"), 1)):
        for to in (Send(envelope.pid), Send(envelope.pid, THEM)):
            reply = received(envelope, to, (ref(NUMBER), result), fragment)
            assert isinstance(reply, Reply)
            assert (reply.number, envelope.result(reply)) == (NUMBER, result)
        down = received(envelope, MonitorPExit(THEM, envelope.pid, ref(9), result), None, fragment)
        assert isinstance(down, Down)
        assert (down.number, envelope.result(down)) == (9, result)


def test_what_else_concerns_calls(envelope: HeadedEnvelope) -> None:
    assert received(envelope, SpawnReply(ref(9), envelope.pid, 0, Atom("badopt"))) == SpawnFailed(9, Atom("badopt"))
    assert received(envelope, SpawnReply(ref(9), envelope.pid, 2, THEM)) is SPAWNED
    asked = received(envelope, Send(envelope.pid), (Atom("io_request"), THEM, 1, Atom("getopts")))
    assert asked == IoRequest(THEM, 1, Atom("getopts"))


def test_what_is_not_ours(envelope: HeadedEnvelope) -> None:
    box = Pid(Atom("h@h"), 2, 0, 7)
    for control, message in (
        (Link(THEM, box), None),
        (Send(box), (ref(9, series=4), 1)),
        (Send(box), (1, 2)),
        (Send(box), (Atom("io_request"), THEM, 1, Atom("getopts"))),
        (MonitorPExit(THEM, box, ref(9, series=4), 1), None),
        (SpawnReply(ref(9, series=4), box, 2, THEM), None),
    ):
        assert received(envelope, control, message) == Other(control, message)


def test_an_unreadable_answer_concerns_its_caller_only(envelope: HeadedEnvelope) -> None:
    (packet,) = Outbound().packets(write(Send(envelope.pid), (ref(9), Atom("abc"))))
    for broken in (packet[4:-1], packet[4:] + b"j"):
        reply = HeadedEnvelope("h@h", 7, 3).receive(broken)
        assert isinstance(reply, Reply)
        with pytest.raises(DecodeError):
            envelope.result(reply)


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("fragments", [True, False])
def test_what_the_stream_sends(cut: int, fragments: bool) -> None:
    sink, inbound = Sink(), Inbound()
    stream = HeadedStream(sink, fragments=fragments)
    messages = [Atom("a"), bytes(200_000), [Atom("a"), Atom("b")]]
    plain = TICK + b"".join(write(Send(THEM), message) for message in messages) + TICK
    for at in range(0, len(plain), cut):
        stream.sendall(plain[at : at + cut])
    assert max(map(len, sink.sent)) < (140_000 if fragments else 201_000)
    packets = Deframer().receive(b"".join(sink.sent))
    assert (packets[0], packets[-1], len(packets)) == (b"", b"", 8 if fragments else 5)
    wholes = [whole for packet in packets if packet and (whole := inbound.receive(packet)) is not None]
    assert [read(whole.data, atoms=whole.atoms) for whole in wholes] == [(Send(THEM), message) for message in messages]


def test_only_what_both_sides_offered() -> None:
    sink = Sink()
    assert wired(sink, HIDDEN, "h@h", 7, 3)[0] is sink
    assert wired(sink, HIDDEN | Flag.FRAGMENTS, "h@h", 7, 3)[0] is sink
    for common in (HIDDEN | HEADER, HIDDEN | Flag.DIST_HDR_ATOM_CACHE):
        stream, envelope = wired(sink, common, "h@h", 7, 3)
        assert isinstance(stream, HeadedStream)
        assert isinstance(envelope, HeadedEnvelope)
        assert envelope.pid == Pid(Atom("h@h"), 1, 0, 7)
