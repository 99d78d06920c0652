"""Terms as people write and read them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.etf import Atom, BitString, Export, ImproperList, PairMap, Pid, Port, Reference
from harness.etf.show import show
from harness.etf.syntax import read

BOTH = [
    ("42", 42),
    ("-7", -7),
    ("1.0", 1.0),
    ("1.0e3", 1000.0),
    ("100.0", 100.0),
    ("1.0e22", 1e22),
    ("123456.789", 123456.789),
    ("1.2345678901234568e17", 123456789012345680.0),
    ("5.0e-324", 5e-324),
    ("0.001", 0.001),
    ("-0.0", -0.0),
    ("ok", Atom("ok")),
    ("foo@bar", Atom("foo@bar")),
    ("'Foo bar'", Atom("Foo bar")),
    ("'it\\'s'", Atom("it's")),
    ("'end'", Atom("end")),
    ("''", Atom("")),
    ("true", True),
    ("undefined", None),
    ('"abc\\n"', [97, 98, 99, 10]),
    ('"say \\"hé\\""', [ord(c) for c in 'say "hé"']),
    ("[]", []),
    ("[1,a,{}]", [1, Atom("a"), ()]),
    ("[1,2|tail]", ImproperList((1, 2), Atom("tail"))),
    ("{a,{b}}", (Atom("a"), (Atom("b"),))),
    ('<<"abc">>', b"abc"),
    ('<<"é"/utf8>>', "é".encode()),
    ("<<1,255>>", b"\x01\xff"),
    ("<<>>", b""),
    ("#{a => 1,b => []}", {Atom("a"): 1, Atom("b"): []}),
    ("#{1 => a,1.0 => b}", PairMap(((1, Atom("a")), (1.0, Atom("b"))))),
    ("#{[] => a}", PairMap((([], Atom("a")),))),
    ("fun lists:map/2", Export(Atom("lists"), Atom("map"), 2)),
]


@pytest.mark.parametrize(("text", "term"), BOTH)
def test_read_and_shown(text: str, term: object) -> None:
    assert read(text) == term
    assert type(read(text)) is type(term)
    assert show(term) == text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\xff", '<<"ÿ">>'),
        (b"\xa0", '<<"\xa0">>'),
        (b"\xc3\xa9\xff", '<<"Ã©ÿ">>'),
        (b"A\xe9", '<<"Aé">>'),
        (b"\x9f", "<<159>>"),
        ("日".encode(), '<<"日"/utf8>>'),
        ("\x80".encode(), "<<194,128>>"),
        (b"\xef\xbf\xbf", "<<239,191,191>>"),
    ],
)
def test_binaries_as_a_node_of_otp_27_shows_them(data: bytes, shown: str) -> None:
    assert show(data) == shown
    assert read(shown) == data


def test_read_only() -> None:
    assert read(" [ 1 , $a, $\\n , 16#ff, -2#101, 1_000 ] . ") == [1, 97, 10, 255, -5, 1000]
    assert read("[1 | [2, 3]]") == [1, 2, 3]
    assert read('<<"ab", 1, "é"/utf8, 960/utf8>>') == b"ab\x01" + "éπ".encode()
    assert read('"\\x41\\x{3c0}\\101\\e\\s"') == [0x41, 0x3C0, 0x41, 27, 32]
    assert read("{'a b',_}".replace("_", "maybe_more")) == (Atom("a b"), Atom("maybe_more"))


@pytest.mark.parametrize(
    "text",
    ["", "Variable", "[1", "{1,}", "1 2", "<<a>>", "<<1/float>>", "end", "fun x", "#{a 1}", "=>", "[1|2,3]", "[" * 300],
)
def test_no_term(text: str) -> None:
    with pytest.raises(ValueError, match=r"term|segment|deeper"):
        read(text)


def test_shown_only() -> None:
    node = Atom("n1@host")
    assert show(Pid(node, 12, 3, 1)) == "<n1@host.12.3>"
    assert show(Port(node, 12, 1)) == "#Port<n1@host.12>"
    assert show(Reference(node, 1, (7, 8, 9))) == "#Ref<n1@host.9.8.7>"
    assert show(BitString(b"\x01\xa0", 3)) == "<<1,5:3>>"
    assert show("text") == '<<"text">>'
    assert show(Atom("\n\x01")) == "'\\n\\001'"
    assert show(16**4000) == "16#1" + "0" * 4000  # Python does not print such integers in decimal
    assert show([0x110000, 65]) == "[1114112,65]"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(number: float) -> None:
    assert read(show(number)) == number


@given(st.text())
def test_what_is_no_term_says_so(text: str) -> None:
    with contextlib.suppress(ValueError):
        show(read(text))
