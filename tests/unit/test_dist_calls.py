"""What calls write, and how their answers are recognised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.calls import Down, Envelope, IoRequest, Other, Reply, SpawnFailed
from harness.dist.protocol.control import Link, RegSend
from harness.errors import DecodeError
from harness.etf import Atom, Pid, Reference, decode, encode

LOCAL, CREATION = "h@h", 0x01000000
THEM = Pid(Atom("n1@n1"), 90, 1, 5)


def packet(control: Any, *message: Any) -> bytes:
    return b"p\x83" + encode(control) + b"".join(b"\x83" + encode(term) for term in message)


def ref(number: int) -> Reference:
    return Reference(Atom(LOCAL), CREATION, (0, number >> 32, number & 0xFFFFFFFF))


@pytest.fixture
def envelope() -> Envelope:
    return Envelope(LOCAL, CREATION)


def opened(frame: bytes) -> tuple[Any, Any]:
    """Control and message of one frame, which they fill."""
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:6] == b"p\x83"
    control, end = decode(frame, 6)
    assert frame[end] == 131
    message, last = decode(frame, end + 1)
    assert last == len(frame)
    return control, message


NUMBER = 0x1_0000_0002


def test_call(envelope: Envelope) -> None:
    me = Pid(Atom(LOCAL), 1, 0, CREATION)
    assert opened(envelope.call(NUMBER, "m", "f", (1, "x"))) == (
        (6, me, "", "rex"),
        ("$gen_call", (me, ref(NUMBER)), ("call", "m", "f", [1, b"x"], "user")),
    )


def test_spawn(envelope: Envelope) -> None:
    me = Pid(Atom(LOCAL), 1, 0, CREATION)
    assert opened(envelope.spawn(NUMBER, "m", "f", [])) == (
        (29, ref(NUMBER), me, me, ("erpc", "execute_call", 4), ["monitor"]),
        [ref(NUMBER), "m", "f", []],
    )


def test_cast_and_sends(envelope: Envelope) -> None:
    me = Pid(Atom(LOCAL), 1, 0, CREATION)
    assert opened(envelope.cast("m", "f", [1])) == (
        (6, me, "", "rex"),
        ("$gen_cast", ("cast", "m", "f", [1], "user")),
    )
    assert opened(envelope.send_named("kv", b"x")) == ((6, me, "", "kv"), b"x")
    assert opened(envelope.send(THEM, 7)) == ((2, "", THEM), 7)


@pytest.mark.parametrize("control", [(2, Atom(""), THEM), (22, THEM, THEM)])
@pytest.mark.parametrize("number", [0, 1, 255, 256, 1 << 24, 1 << 32, NUMBER])
def test_replies_first_and_learnt(envelope: Envelope, control: Any, number: int) -> None:
    for result in ([1, 2], b"x", (Atom("ok"),)):  # the first teaches the prefix, the others use it
        event = envelope.receive(packet(control, (ref(number), result)))
        assert isinstance(event, Reply)
        assert event.number == number
        assert envelope.result(event) == result


def test_replies_to_an_earlier_connection_are_not_ours(envelope: Envelope) -> None:
    other = Reference(Atom(LOCAL), CREATION + 1, (0, 0, 1))
    assert isinstance(envelope.receive(packet((2, Atom(""), THEM), (other, 1))), Other)
    assert isinstance(envelope.receive(packet((2, Atom(""), THEM), (ref(1), 1))), Reply)
    assert isinstance(envelope.receive(packet((2, Atom(""), THEM), (other, 1))), Other)


def test_spawned_processes_end(envelope: Envelope) -> None:
    for number in (9, NUMBER, 0):  # the first teaches, the others use it
        them = Pid(THEM.node, number & 0xFF, 7, THEM.creation)
        assert isinstance(envelope.receive(packet((31, ref(number), envelope.pid, 2, them))), Other)
        reason = (ref(number), Atom("return"), 3)
        event = envelope.receive(packet((28, them, envelope.pid, ref(number)), reason))
        assert isinstance(event, Down)
        assert event.number == number
        assert envelope.result(event) == reason
    failed = envelope.receive(packet((31, ref(9), envelope.pid, 0, Atom("system_limit"))))
    assert failed == SpawnFailed(9, "system_limit")


def test_spawn_fails(envelope: Envelope) -> None:
    event = envelope.receive(packet((31, ref(9), envelope.pid, 0, Atom("badopt"))))
    assert event == SpawnFailed(9, "badopt")
    assert isinstance(envelope.receive(packet((31, ref(9), envelope.pid, 2, THEM))), Other)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ((Atom("put_chars"), Atom("unicode"), b"x"), "ok"),
        ((Atom("get_line"), Atom("unicode"), b"> "), "eof"),
        (Atom("getopts"), ("error", "enotsup")),
    ],
)
def test_io_is_answered(envelope: Envelope, request_: Any, answer: Any) -> None:
    event = envelope.receive(packet((2, Atom(""), envelope.pid), (Atom("io_request"), THEM, ref(1), request_)))
    assert isinstance(event, IoRequest)
    assert opened(envelope.io_reply(event)) == ((2, "", THEM), ("io_reply", ref(1), answer))


def test_anything_else_is_told_apart(envelope: Envelope) -> None:
    assert envelope.receive(packet((1, THEM, envelope.pid))) == Other(Link(THEM, envelope.pid), None)
    sent = envelope.receive(packet((6, THEM, Atom(""), Atom("net_kernel")), 5))
    assert sent == Other(RegSend(THEM, Atom("net_kernel")), 5)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"p", b"p\x83", b"p\x83j", b"p\x83h\1j", packet((2, 3))[:-1], packet((2, 3), 1) + b"!"]
)
def test_broken_packets(envelope: Envelope, data: bytes) -> None:
    with pytest.raises(DecodeError):
        envelope.receive(data)


@given(st.data())
def test_damaged_packets(data: st.DataObject) -> None:
    envelope = Envelope(LOCAL, CREATION)
    good = [
        packet((2, Atom(""), envelope.pid), (ref(1), [1])),
        packet((28, THEM, envelope.pid, ref(2)), (ref(2), Atom("return"), 3)),
        packet((31, ref(9), envelope.pid, 0, Atom("badopt"))),
    ]
    if data.draw(st.booleans()):
        for each in (*good, packet((31, ref(9), envelope.pid, 2, THEM))):
            envelope.receive(each)  # its surroundings are known now
    raw = bytearray(data.draw(st.sampled_from(good)))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        event = envelope.receive(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
        if isinstance(event, Reply | Down):
            envelope.result(event)
    except DecodeError:
        return
