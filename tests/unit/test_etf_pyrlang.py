"""Programs as people wrote them for pyrlang-term: only their imports have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.etf import (
    NIL,
    Atom,
    BitString,
    DecodeOptions,
    EncodeOptions,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Reference,
    StrictAtom,
    binary_to_term,
    codec,
    list_to_str,
    list_to_unicode_str,
    term_to_binary,
)

OK = b"\x83w\2ok"


# --- the classes ------------------------------------------------------------------------------------------------------


def test_pids_are_made_and_asked_by_their_old_names() -> None:
    pid = Pid(node_name="shop@host", id=1, serial=2, creation=3)
    assert (pid.node_name_, pid.id_, pid.serial_, pid.creation_) == ("shop@host", 1, 2, 3)
    assert codec.term_to_binary(pid) == b"\x83Xw\x09shop@host" + bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    assert {pid: "known"}[Pid("shop@host", 1, 2, 3)] == "known"

    class Node:
        node_name_ = "shop@host"

    assert pid.is_local_to(Node())


def test_references_hold_bytes() -> None:
    ref = Reference(node_name="a@b", creation=1, refid=b"fgsfdsfdsfgs")
    assert ref.id_ == b"fgsfdsfdsfgs"
    assert codec.term_to_binary(ref) == b"\x83Z\0\3w\3a@b\0\0\0\1fgsfdsfdsfgs"
    back, _ = codec.binary_to_term(codec.term_to_binary(ref))
    assert (back, back.node_name_, back.creation_, back.id_) == (ref, "a@b", 1, ref.id_)


def test_improper_lists_and_bit_strings() -> None:
    improper = ImproperList([1], Atom("ok"))
    assert codec.term_to_binary(improper) == b"\x83l\0\0\0\1a\1w\2ok"
    back, _ = codec.binary_to_term(codec.term_to_binary(improper))
    assert (list(back.elements_), back.tail_, back) == ([1], "ok", improper)
    bits = BitString(val=b"Waagh", last_byte_bits=4)
    assert (bits.value_, bits.last_byte_bits_) == (b"Waagh", 4)
    assert codec.term_to_binary(bits) == b"\x83M\0\0\0\5\4Waagh"
    assert codec.term_to_binary(BitString(b"Waagh", 8)) == codec.term_to_binary(b"Waagh")


def test_funs_are_looked_into() -> None:
    pid = Pid("a@b", 1, 2, 3)
    fun = Fun(mod=Atom("m"), arity=1, pid=pid, index=2, uniq=bytes(16), old_index=3, old_uniq=4, free=(Atom("x"),))
    back, _ = codec.binary_to_term(codec.term_to_binary(fun))
    assert (back.module_, back.arity_, back.pid_, back.index_) == ("m", 1, pid, 2)
    assert (back.uniq_, back.old_index_, back.old_uniq_, back.free_) == (bytes(16), 3, 4, ("x",))


def test_atoms_plain_and_strict() -> None:
    assert (repr(Atom("a")), repr(StrictAtom("a")), str(StrictAtom("a"))) == ("Atom('a')", *["StrictAtom('a')"] * 2)
    assert Atom("a") == "a" == StrictAtom("a")
    assert len({Atom("a"): 1, "a": 2}) == 1
    assert len({StrictAtom("a"): 1, "a": 2}) == 2
    assert codec.term_to_binary(StrictAtom("ok")) == codec.term_to_binary(Atom("ok")) == OK
    assert codec.term_to_binary(StrictAtom("never seen before")) == b"\x83w\x11never seen before"


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("hello", b"\x83k\0\5hello"),
        ("", b"\x83j"),
        ("ΔΩ", b"\x83l\0\0\0\2b\0\0\3\x94b\0\0\3\xa9j"),
        (b"hello", b"\x83m\0\0\0\5hello"),
        (True, b"\x83w\4true"),
        (False, b"\x83w\5false"),
        (None, b"\x83w\x09undefined"),
        ((1, Atom("ok")), b"\x83h\2a\1w\2ok"),
        ({1: 2, Atom("ok"): Atom("error")}, b"\x83t\0\0\0\2a\1a\2w\2okw\5error"),
        (4747, bytes([131, 98, 0, 0, 18, 139])),
        (-(2**64), bytes([131, 110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
        (3.14159265358979, bytes([131, 70, 64, 9, 33, 251, 84, 68, 45, 17])),
    ],
)
def test_the_same_bytes(value: Any, data: bytes) -> None:
    assert codec.term_to_binary(value) == codec.term_to_binary(value, None) == data
    assert codec.term_to_binary_2(value, None) == codec.encode(value)[1:] == data[1:]
    assert codec.binary_to_term(data + b"tail")[1] == codec.binary_to_term_2(data[1:] + b"tail")[1] == b"tail"


def test_a_string_comes_back_as_text() -> None:
    assert codec.binary_to_term(codec.term_to_binary("hello")) == ("hello", b"")
    assert codec.binary_to_term(codec.term_to_binary("hallå")) == ("hallå", b"")
    assert list_to_unicode_str(codec.binary_to_term(codec.term_to_binary("☢ ☣"))[0]) == "☢ ☣"
    assert codec.binary_to_term(codec.term_to_binary("")) == (NIL, b"")
    assert list_to_str([104, 105]) == b"hi"


def test_what_would_lose_information_does_not() -> None:
    assert binary_to_term(b"\x83k\0\2\1\2") == ([1, 2], b"")  # a list is a list, whatever its numbers are
    assert codec.binary_to_term(b"\x83M\0\0\0\1\3\xa0")[0] == BitString(b"\xa0", 3)
    assert codec.binary_to_term(b"\x83l\0\0\0\1a\1w\2ok")[0] == ImproperList((1,), Atom("ok"))
    assert type(codec.binary_to_term(b"\x83t\0\0\0\2a\1jF?\xf0\0\0\0\0\0\0j")[0]) is PairMap
    assert codec.term_to_binary("hallå") == b"\x83k\0\5hall\xe5"
    assert codec.term_to_binary("hallå", {"string": "utf8"}) == b"\x83k\0\6hall\xc3\xa5"
    assert codec.term_to_binary("ΔΩ", {"string": "utf8"}) == codec.term_to_binary("ΔΩ")


# --- options of reading -----------------------------------------------------------------------------------------------

NESTED = codec.term_to_binary({Atom("k"): [Atom("a"), (None, True, ImproperList((Atom("b"),), Atom("c")))]})


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({"atom": "str"}, str),
        ({"atom": "bytes"}, lambda name: name.encode()),
        ({"atom": "Atom"}, Atom),
        ({"atom": "StrictAtom"}, StrictAtom),
        ({"atom_call": str.upper}, str.upper),
        ({"atom_call": lambda name: ("atom", name)}, lambda name: ("atom", name)),
    ],
)
def test_atoms_in_other_clothes(options: dict[str, Any], make: Callable[[str], Any]) -> None:
    expected = {make("k"): [make("a"), (None, True, ImproperList((make("b"),), make("c")))]}
    for read in (codec.binary_to_term, binary_to_term):
        term, _ = read(NESTED, options)
        assert term == expected
        assert type(term[make("k")][0]) is type(make("a"))
    assert codec.binary_to_term_2(NESTED[1:], options)[0] == expected


def test_names_inside_identifiers_stay_atoms() -> None:
    pid = Pid(Atom("a@b"), 1, 2, 3)
    assert type(codec.binary_to_term(codec.term_to_binary(pid), {"atom": "bytes"})[0].node) is Atom


@pytest.mark.parametrize(("form", "value"), [("str", "hi"), ("bytes", b"hi"), ("int_list", [104, 105])])
def test_byte_strings_in_other_clothes(form: str, value: Any) -> None:
    data = codec.term_to_binary([Atom("x"), "hi"])
    assert codec.binary_to_term(data, {"byte_string": form})[0] == ["x", value]
    assert binary_to_term(data, DecodeOptions(byte_string=form))[0] == ["x", value]


def test_hooks_see_every_decoded_term_innermost_first() -> None:
    data = codec.term_to_binary([1, (2, [3]), {b"k": 4}])
    seen: list[Any] = []

    def negated(value: int) -> int:
        seen.append(value)
        return -value

    hooks = {"int": negated, "bytes": bytes.decode, "tuple": list, "dict": lambda value: sorted(value.items())}
    assert codec.binary_to_term(data, {"decode_hook": hooks, "byte_string": "int_list"})[0] == [
        -1, [-2, [-3]], [("k", -4)],
    ]  # fmt: skip
    assert seen == [1, 2, 3, 4]


def test_a_hook_makes_pairs_of_bit_strings() -> None:
    data = codec.term_to_binary((BitString(b"\xa0", 3),))
    as_pair = {"BitString": lambda bits: (bits.value_, bits.last_byte_bits_)}
    assert codec.binary_to_term(data, {"decode_hook": as_pair})[0] == ((b"\xa0", 3),)


def test_compressed_terms() -> None:
    text = b"dolor sit amet " * 40
    data = codec.term_to_binary(text, {"compressed": True})
    assert data[1:2] == b"P"
    assert codec.binary_to_term(data) == (text, b"")
    assert codec.binary_to_term(data, {"decode_hook": {"bytes": bytes.decode}}) == (text.decode(), b"")


# --- options of writing -----------------------------------------------------------------------------------------------


class Point:
    def __init__(self) -> None:
        self.x = 1
        self.inner = {b"a": "b"}
        self._hidden = 2


class Speaking:
    def __etf__(self) -> Any:
        return (Atom("i"), "speak", [Speaking2()])


class Speaking2:
    def __etf__(self) -> Any:
        return Atom("too")


def test_objects_without_counterpart() -> None:
    fields = (b"Point", {b"x": 1, b"inner": {b"a": "b"}})
    assert codec.term_to_binary(Point()) == codec.term_to_binary(fields)
    assert codec.term_to_binary([Point()]) == codec.term_to_binary([fields])
    with pytest.raises(codec.PyCodecError):
        term_to_binary(Point())
    for write in (codec.term_to_binary, term_to_binary):
        assert write([Speaking()]) == write([(Atom("i"), "speak", [Atom("too")])])


def test_an_object_within_itself_is_refused() -> None:
    knot = Point()
    knot.inner[b"knot"] = knot  # type: ignore[assignment]
    with pytest.raises(codec.PyCodecError, match="contain itself"):
        codec.term_to_binary(knot)


@pytest.mark.parametrize("hook", [{"catch_all": lambda value: Atom("ok")}, lambda value: Atom("ok")])
def test_catch_all(hook: Any) -> None:
    for write in (codec.term_to_binary, term_to_binary):
        assert write(Point(), {"encode_hook": hook}) == write(Speaking(), {"encode_hook": hook}) == OK
        assert write([1, object()], {"encode_hook": hook}) == b"\x83l\0\0\0\2a\1w\2okj"
    assert codec.term_to_binary_2(Point(), hook) == OK[1:]


def test_hooks_by_type_name() -> None:
    hooks = {"float": int, "str": str.encode, "int": lambda value: value + 1, "Point": lambda value: [value.x]}
    for options in ({"encode_hook": hooks}, EncodeOptions(encode_hook=hooks)):
        term, _ = binary_to_term(term_to_binary({"a": [5.0, (1, True)], b"p": Point()}, options))
        assert term == {b"a": [5, (2, True)], b"p": [2]}  # what a hook returned is not hooked again, what is inside is
    assert binary_to_term(term_to_binary([1, 2, 3], {"encode_hook": hooks}))[0] == [2, 3, 4]
    counted = {"list": lambda value: [len(value), *value]}  # the end of a list is no list of its own
    assert binary_to_term(term_to_binary([b"a", []], {"encode_hook": counted}))[0] == [2, b"a", [0]]
    assert codec.term_to_binary_2(5.0, {"float": int}) == b"a\5"


@pytest.mark.parametrize("value", [float("inf"), {1: float("-inf")}, [2, float("nan")]])
def test_what_is_no_number_raises(value: Any) -> None:
    with pytest.raises(codec.PyCodecError):
        codec.term_to_binary(value)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x83", b"\x82a\1", b"\x83k\0\5he", b"\x83P\0\0\1\xc4junk", b"\x83\xff"])
def test_errors_are_one_class(data: bytes) -> None:
    with pytest.raises(codec.PyCodecError):
        codec.binary_to_term(data)
    with pytest.raises(codec.ETFDecodeException):
        codec.loads(data)


def test_what_their_identifiers_and_lists_can_do() -> None:
    pid, other = Pid(Atom("a@b"), 1, 2, 3), Pid(Atom("a@b"), 1, 2, 4)
    assert pid.equals(Pid(Atom("a@b"), 1, 2, 3))
    assert not pid.equals(other)
    assert not pid.equals("pid")
    ref = Reference(Atom("a@b"), 1, (7, 8))
    assert ref.equals(Reference(Atom("a@b"), 1, ref.id_))
    assert not ref.equals(pid)
    assert ImproperList([1], 2).elements_ == [1]  # type: ignore[arg-type]
    assert codec.decode(codec.encode(BitString(b"abc")))[0] == b"abc"
    assert BitString(b"abc").last_byte_bits_ == 8  # type: ignore[attr-defined]


def test_an_object_within_itself() -> None:
    class Knot:
        def __init__(self) -> None:
            self.own = self

    with pytest.raises(codec.PyCodecError, match="does the term contain itself"):
        codec.encode(Knot())


def test_options_that_cannot_be_meant() -> None:
    wrong: list[dict[str, Any]] = [
        {"atom": "Str"}, {"byte_string": "list"}, {"max_depth": 1 << 30}, {"max_depth": -1}, {"max_size": "1"},
        {"max_integer": 1.5}, {"max_containers": -1}, {"max_ratio": None}, {"decode_hook": repr}, {"atom_call": "str"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(ValueError, match="|".join(options)):
            binary_to_term(OK, options)
        with pytest.raises(codec.PyCodecError, match="^option (" + "|".join(options) + "): expected "):
            codec.decode(OK, options)
    writes: list[dict[str, Any]] = [{"string": "text"}, {"compressed": 10}, {"compressed": "x"}, {"encode_hook": 7}]
    for write in writes:
        with pytest.raises(ValueError, match="|".join(write)):
            term_to_binary(1, write)
    assert binary_to_term(OK, {"not": "known"}) == ("ok", b"")
    huge = dict.fromkeys(("max_size", "max_inflated", "max_integer", "max_containers"), 1 << 70)
    assert binary_to_term(b"\x83l\0\0\0\1o\0\0\0\1\0\7j", huge) == ([7], b"")  # as good as none
    with pytest.raises(ValueError, match="options: expected a dict or DecodeOptions, got 7"):
        binary_to_term(OK, 7)  # type: ignore[arg-type]


def test_the_other_names_of_the_codec() -> None:
    for write, read in [(codec.pack, codec.unpack), (codec.dumps, codec.loads), (codec.encode, codec.decode)]:
        assert read(write(("a", 1))) == (("a", 1), b"")
