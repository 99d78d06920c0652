"""Every control message of the chapter: read whole, cut short and with more behind; written as a node writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dist.protocol import control
from harness.dist.protocol.control import LAYOUTS, read, write
from harness.errors import DecodeError, EncodeError
from harness.etf import Atom, Pid, Reference, decode, encode

A, B, L = (Pid(Atom(name), number, 0, 5) for name, number in (("a@a", 90), ("b@b", 1 << 20), ("c@c", 3)))
REF = Reference(A.node, 5, (1, 2, 3))
MFA = (Atom("lists"), Atom("seq"), 2)
NO = Atom("")
TOKEN = (1, 2, A, B, 3)
TEXT = Atom("hello")  # a message, or a reason
ARGS = [1, 10]
NOTHING = object()

# The tuple on the wire, what follows it, what they are read as, the message they are read with
MESSAGES: list[tuple[tuple[Any, ...], Any, Any, Any]] = [
    ((1, A, B), NOTHING, control.Link(A, B), None),
    ((2, NO, B), TEXT, control.Send(B), TEXT),
    ((3, A, B, TEXT), NOTHING, control.Exit(A, B, TEXT), None),
    ((4, A, B), NOTHING, control.Unlink(A, B), None),
    ((5,), NOTHING, control.NodeLink(), None),
    ((6, A, NO, Atom("rex")), TEXT, control.RegSend(A, Atom("rex")), TEXT),
    ((7, A, B), NOTHING, control.GroupLeader(A, B), None),
    ((8, A, B, TEXT), NOTHING, control.Exit2(A, B, TEXT), None),
    ((12, NO, B, TOKEN), TEXT, control.Send(B, token=TOKEN), TEXT),
    ((13, A, B, TOKEN, TEXT), NOTHING, control.Exit(A, B, TEXT, TOKEN), None),
    ((16, A, NO, Atom("rex"), TOKEN), TEXT, control.RegSend(A, Atom("rex"), TOKEN), TEXT),
    ((18, A, B, TOKEN, TEXT), NOTHING, control.Exit2(A, B, TEXT, TOKEN), None),
    ((19, A, B, REF), NOTHING, control.MonitorP(A, B, REF), None),
    ((20, A, Atom("rex"), REF), NOTHING, control.DemonitorP(A, Atom("rex"), REF), None),
    ((21, A, B, REF, TEXT), NOTHING, control.MonitorPExit(A, B, REF, TEXT), None),
    ((22, A, B), TEXT, control.Send(B, A), TEXT),
    ((23, A, B, TOKEN), TEXT, control.Send(B, A, TOKEN), TEXT),
    ((24, A, B), TEXT, control.Exit(A, B, TEXT), None),
    ((25, A, B, TOKEN), TEXT, control.Exit(A, B, TEXT, TOKEN), None),
    ((26, A, B), TEXT, control.Exit2(A, B, TEXT), None),
    ((27, A, B, TOKEN), TEXT, control.Exit2(A, B, TEXT, TOKEN), None),
    ((28, Atom("rex"), B, REF), TEXT, control.MonitorPExit(Atom("rex"), B, REF, TEXT), None),
    ((29, REF, A, L, MFA, [Atom("link")]), ARGS, control.SpawnRequest(REF, A, L, MFA, [Atom("link")]), ARGS),
    ((30, REF, A, L, MFA, [], TOKEN), ARGS, control.SpawnRequest(REF, A, L, MFA, [], TOKEN), ARGS),
    ((31, REF, B, 3, A), NOTHING, control.SpawnReply(REF, B, 3, A), None),
    ((32, REF, B, 0, Atom("badopt"), TOKEN), NOTHING, control.SpawnReply(REF, B, 0, Atom("badopt"), TOKEN), None),
    ((33, A, REF), TEXT, control.AliasSend(A, REF), TEXT),
    ((34, A, REF, TOKEN), TEXT, control.AliasSend(A, REF, TOKEN), TEXT),
    ((35, (1 << 64) - 1, A, B), NOTHING, control.UnlinkId((1 << 64) - 1, A, B), None),
    ((36, 1, A, B), NOTHING, control.UnlinkIdAck(1, A, B), None),
]
IN_THE_TUPLE = (3, 8, 13, 18, 21)  # reasons of nodes older than OTP 22
every = pytest.mark.parametrize(("raw", "behind", "expected", "message"), MESSAGES, ids=lambda each: None)


def packet(raw: Any, behind: Any = NOTHING) -> bytes:
    return b"p\x83" + encode(raw) + (b"" if behind is NOTHING else b"\x83" + encode(behind))


def test_the_chapter_is_whole() -> None:
    assert sorted(LAYOUTS) == [raw[0] for raw, *_ in MESSAGES]
    assert sorted(LAYOUTS) == [*range(1, 9), 12, 13, 16, *range(18, 37)]


@every
def test_read(raw: Any, behind: Any, expected: Any, message: Any) -> None:
    whole = packet(raw, behind)
    assert read(whole) == (expected, message)
    assert type(read(whole)[0]) is type(expected)
    for end in range(len(whole)):
        with pytest.raises(DecodeError):
            read(whole[:end])
    for more in (b"j", b"\x83", b"\x83j" if behind is NOTHING else b"\x83jj"):
        with pytest.raises(DecodeError):
            read(whole + more)


@every
def test_written_as_read(raw: Any, behind: Any, expected: Any, message: Any) -> None:
    frame = write(expected, message, exit_payload=raw[0] not in IN_THE_TUPLE)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:] == packet(raw, behind)


@every
def test_elements_of_a_wrong_type_or_number(raw: Any, behind: Any, expected: Any, message: Any) -> None:
    layout = LAYOUTS[raw[0]]
    wrong = [(*raw, 1)] + ([raw[:-1]] if len(raw) > 1 else [])
    for at, (name, accepted) in enumerate(zip(layout.elements, layout.accepted, strict=True), 1):
        assert accepted or name in ("-", "token", "reason")
        if accepted:
            wrong.append((*raw[:at], 1.5, *raw[at + 1 :]))
    for each in wrong:
        with pytest.raises(DecodeError, match=f"control message {raw[0]} "):
            read(packet(each, behind))


@pytest.mark.parametrize("mfa", [(Atom("m"), Atom("f"), -1), (Atom("m"), Atom("f"), True), (1, Atom("f"), 1), (1,)])
def test_a_function_that_is_none(mfa: Any) -> None:
    with pytest.raises(DecodeError, match="control message 29"):
        read(packet((29, REF, A, L, mfa, []), []))


def test_arguments_that_are_no_list() -> None:
    with pytest.raises(DecodeError, match="control message 29"):
        read(packet((29, REF, A, L, MFA, []), 5))


@pytest.mark.parametrize("name", ["true", "undefined"])
def test_names_that_are_plain_values_to_python(name: str) -> None:
    monitor, _ = read(packet((19, A, Atom(name), REF)))
    assert monitor == control.MonitorP(A, Atom(name), REF)
    request, _ = read(packet((29, REF, A, L, (Atom(name), Atom(name), 0), []), []))
    assert isinstance(request, control.SpawnRequest)
    assert [type(part) for part in request.mfa] == [Atom, Atom, int]


@pytest.mark.parametrize(("behind", "message"), [(NOTHING, None), (TEXT, TEXT)])
def test_operations_of_tomorrow(behind: Any, message: Any) -> None:
    later = (37, 0, A, B)
    assert read(packet(later, behind)) == (control.Unknown(later), message)
    assert write(control.Unknown(later), message)[4:] == packet(later, behind)


def test_undefined_is_a_message() -> None:
    assert write(control.Send(B))[4:] == packet((2, NO, B), None)


def test_what_no_node_writes() -> None:
    with pytest.raises(EncodeError, match="Link"):
        write(control.Link(None, B))  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"x", b"p", b"p\x83", b"q\x83h\1a\5", packet(5), packet(()), packet((NO, 1))])
def test_no_control_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


@given(st.data())
def test_damaged(data: st.DataObject) -> None:
    raw, behind, *_ = data.draw(st.sampled_from(MESSAGES))
    damaged = bytearray(packet(raw, behind))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(2, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        got, message = read(bytes(damaged))
    except DecodeError:
        return
    if type(got) is control.Unknown:
        return
    again, end = decode(write(got, message), 6)
    assert again[0] in LAYOUTS
    assert end
