"""Distribution headers: built by hand, our two sides joined, and what is out of place."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.protocol.control import Link, RegSend, Send, read, write
from harness.dist.protocol.framing import TICK
from harness.dist.protocol.header import Inbound, Whole
from harness.dist.protocol.header_out import Outbound
from harness.errors import DecodeError
from harness.etf import Atom, BitString, Export, Fun, Pid, Port, Reference, Term, encode

PID = Pid(Atom("n1@n1"), 90, 1, 5)
BODY = b"h\2R\0R\1"
# Two atoms for entry 0x205 and 0x7ff: the half bytes 8 + 2, 8 + 7, then that of LongAtoms in the next byte
TWO = bytes((131, 68, 2, 0xFA, 0, 5, 2)) + b"ok" + bytes((0xFF, 4)) + b"true"
TWO_KNOWN = bytes((131, 68, 2, 0x72, 0, 5, 0xFF))
# Three: LongAtoms is the upper half of the second byte, lengths have two bytes
THREE = bytes((131, 68, 3, 0xFA, 0x18, 5, 0, 2)) + b"ok" + bytes((0xFF, 0, 4)) + b"true" + bytes((0, 0, 9))
THREE += "undefin\u00e9".encode()


@pytest.mark.parametrize(
    ("head", "atoms"),
    [
        (TWO, (Atom("ok"), True)),
        (THREE, (Atom("ok"), True, Atom("undefin\u00e9"))),
        (bytes((131, 68, 0)), ()),
    ],
)
def test_headers(head: bytes, atoms: tuple[Term, ...]) -> None:
    assert Inbound().receive(head + BODY) == Whole(BODY, atoms)
    for end in range(len(head)):
        with pytest.raises(DecodeError):
            Inbound().receive(head[:end])


def test_what_was_named_before() -> None:
    inbound = Inbound()
    with pytest.raises(DecodeError, match="entry 517 of the atom cache is empty"):
        Inbound().receive(TWO_KNOWN)
    inbound.receive(TWO)
    assert inbound.receive(TWO_KNOWN + BODY) == Whole(BODY, (Atom("ok"), True))
    changed = bytes((131, 68, 1, 0x0A, 5, 2)) + b"no"
    assert inbound.receive(changed) == Whole(b"", (Atom("no"),))
    assert inbound.receive(TWO_KNOWN) == Whole(b"", (Atom("no"), True))


def test_a_damaged_atom() -> None:
    with pytest.raises(DecodeError, match="malformed atom in a distribution header at offset 6"):
        Inbound().receive(bytes((131, 68, 1, 0x08, 5, 1, 0xFF)))


@pytest.mark.parametrize("packet", [b"p\x83h\1a\5", b"\x83", b"\x83\x47", b"\x83\x45" + bytes(15), b"\x83\x50"])
def test_no_header(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        Inbound().receive(packet)


# --- fragments --------------------------------------------------------------------------------------------------------


def first(sequence: int, number: int, data: bytes, references: bytes = b"\0") -> bytes:
    return struct.pack(">BBQQ", 131, 69, sequence, number) + references + data


def following(sequence: int, number: int, data: bytes) -> bytes:
    return struct.pack(">BBQQ", 131, 70, sequence, number) + data


def test_fragments_of_several_messages_mixed() -> None:
    inbound = Inbound()
    assert inbound.receive(first(7, 3, b"ab", TWO[2:])) is None
    assert inbound.receive(first(1 << 63, 2, b"x")) is None
    assert inbound.receive(following(7, 2, b"c")) is None
    # The cache moves on meanwhile; a message keeps what its first fragment referred to
    assert inbound.receive(bytes((131, 68, 1, 0x0A, 5, 2)) + b"no") == Whole(b"", (Atom("no"),))
    assert inbound.receive(following(1 << 63, 1, b"y")) == Whole(b"xy", ())
    assert inbound.receive(following(7, 1, b"d")) == Whole(b"abcd", (Atom("ok"), True))
    assert inbound.receive(first(7, 1, b"z")) == Whole(b"z", ())  # the number is free again; one fragment is enough


@pytest.mark.parametrize(
    "packets",
    [
        [following(7, 1, b"")],
        [first(7, 0, b"")],
        [first(7, 2, b""), first(7, 2, b"")],
        [first(7, 3, b""), following(7, 1, b"")],
        [first(7, 2, b""), following(8, 1, b"")],
        [first(7, 2, b""), following(7, 1, b""), following(7, 0, b"")],
    ],
)
def test_fragments_out_of_place(packets: list[bytes]) -> None:
    inbound = Inbound()
    for packet in packets[:-1]:
        inbound.receive(packet)
    with pytest.raises(DecodeError, match=r"fragment \d of sequence|fragment \d cannot begin"):
        inbound.receive(packets[-1])


def test_limits() -> None:
    inbound = Inbound(limit=10, max_sequences=2)
    for _ in range(3):  # what is whole counts no more
        inbound.receive(first(1, 2, b"12345"))
        assert inbound.receive(following(1, 1, b"12345")) == Whole(b"1234512345", ())
    inbound.receive(first(1, 3, b"12345"))
    inbound.receive(first(2, 2, b"12345"))
    with pytest.raises(DecodeError, match="more than 2 unfinished"):
        inbound.receive(first(3, 2, b""))
    with pytest.raises(DecodeError, match="11 bytes, limit 10"):
        inbound.receive(following(1, 2, b"6"))


# --- our two sides joined ---------------------------------------------------------------------------------------------


def passed(outbound: Outbound, inbound: Inbound, control: Any, message: Term) -> list[bytes]:
    """The packets of one message, which arrives as it was."""
    packets = outbound.packets(write(control, message))
    for packet in packets:
        assert int.from_bytes(packet[:4], "big") == len(packet) - 4
    *before, last = [inbound.receive(packet[4:]) for packet in packets]
    assert before == [None] * len(before)
    assert last is not None
    assert read(last.data, atoms=last.atoms) == (control, message)
    return packets


FUN = Fun(Atom("m"), 1, bytes(16), 0, 0, 0, PID, (Atom("free"),))
TERMS: list[Term] = [
    None, 1, -1, 1 << 40, 1 << 3000, 1.5, b"bytes", [], [1, 2], [Atom("a"), [Atom("b")]], (), {Atom("k"): Atom("v")},
    PID, Port(Atom("n1@n1"), 1, 5), Port(Atom("n1@n1"), 1 << 40, 5), Reference(Atom("n2@n2"), 5, (1, 2, 3)),
    Export(Atom("lists"), Atom("seq"), 2), BitString(b"\xf0", 4), FUN, [Atom("after"), FUN, Atom("it")],
    tuple(range(300)), Atom("\u00e9" * 255), [Atom(f"a{number}") for number in range(700)], [Atom("x"), b"y" * 70_000],
]  # fmt: skip


def test_every_term_passes() -> None:
    outbound, inbound = Outbound(), Inbound()
    for _ in range(2):
        for term in TERMS:
            passed(outbound, inbound, Send(PID), term)
            passed(outbound, inbound, RegSend(PID, Atom("rex")), term)


def test_atoms_are_sent_once() -> None:
    outbound, inbound = Outbound(), Inbound()
    message = [Atom("a_rather_long_name")] * 3
    (new,) = passed(outbound, inbound, Send(PID), message)
    (known,) = passed(outbound, inbound, Send(PID), message)
    assert new.count(b"a_rather_long_name") == 1
    assert b"a_rather_long_name" not in known


def test_long_messages_become_fragments() -> None:
    outbound, inbound = Outbound(fragment=100), Inbound()
    assert len(passed(outbound, inbound, Send(PID), bytes(95))) == 1  # 100 bytes encoded
    assert len(passed(outbound, inbound, Send(PID), bytes(96))) == 2
    assert len(passed(outbound, inbound, Send(PID), bytes(996))) == 11
    assert len(passed(Outbound(fragments=False, fragment=100), Inbound(), Send(PID), bytes(996))) == 1


def test_a_tick_stays_one() -> None:
    assert Outbound().packets(TICK) == [TICK]


def test_a_control_message_without_message() -> None:
    (packet,) = Outbound().packets(write(Link(PID, PID)))
    whole = Inbound().receive(packet[4:])
    assert whole is not None
    assert read(whole.data, atoms=whole.atoms) == (Link(PID, PID), None)


@pytest.mark.parametrize("more", [b"j", b"\x83"])
def test_bytes_behind_a_message(more: bytes) -> None:
    with pytest.raises(DecodeError):
        read(encode((2, Atom(""), PID)) + encode(1) + more, atoms=())


@given(st.lists(st.lists(st.text(max_size=3), max_size=40), max_size=20), st.integers(1, 60))
def test_any_atoms_in_any_fragments(messages: list[list[str]], fragment: int) -> None:
    outbound, inbound = Outbound(fragment=fragment), Inbound()
    for names in messages:
        passed(outbound, inbound, Send(PID), [Atom(name) for name in names if name not in ("true", "false")])


@given(st.lists(st.tuples(st.sampled_from([68, 69, 70]), st.binary(max_size=40))))
def test_any_bytes(packets: list[tuple[int, bytes]]) -> None:
    inbound = Inbound(limit=100)
    for tag, data in packets:
        try:
            whole = inbound.receive(bytes((131, tag)) + data)
            if whole is not None:
                read(whole.data, atoms=whole.atoms)
        except DecodeError:
            continue
