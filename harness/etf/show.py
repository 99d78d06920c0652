"""Terms as Erlang shows them, sans-I/O: what ``io:format("~0tp")`` prints in OTP 27 started with ``+pc unicode``."""

from __future__ import annotations

import re

from harness.etf import Atom, BitString, Export, Fun, ImproperList, PairMap, Pid, Port, Reference, Term

RESERVED = frozenset(
    """
    after and andalso band begin bnot bor bsl bsr bxor case catch cond div else end fun if let maybe not of or orelse
    receive rem try when xor
    """.split()  # noqa: SIM905
)
_PLAIN = re.compile(r"[a-zß-öø-ÿ][\w@]*")
_ESCAPED = {"\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f", "\v": "v", "\x1b": "e"}
_LONG = 10_000  # bits of an integer that is not turned into decimal digits: that takes time quadratic in them


def show(term: Term) -> str:
    """`term` as Erlang shows it. Pids, references, ports and funs, which have no syntax, by their parts."""
    match term:
        case None:
            return "undefined"
        case bool():
            return "true" if term else "false"
        case Atom():
            return _shown_atom(term)
        case int():
            return str(term) if term.bit_length() < _LONG else f"{'-' * (term < 0)}16#{abs(term):X}"
        case float():
            return _shown_float(term)
        case str():
            return _shown_binary(term.encode())
        case bytes() | bytearray() | memoryview():
            return _shown_binary(bytes(term))
        case tuple():
            return "{" + ",".join(map(show, term)) + "}"
        case list():
            return _shown_list(term)
        case dict() | PairMap():
            return "#{" + ",".join(f"{show(key)} => {show(value)}" for key, value in term.items()) + "}"
        case ImproperList():
            return "[" + ",".join(map(show, term.elements)) + "|" + show(term.tail) + "]"
        case BitString():
            whole, last = term.data[:-1], term.data[-1] >> (8 - term.last_bits)
            return "<<" + ",".join([*map(str, whole), f"{last}:{term.last_bits}"]) + ">>"
        case Export():
            return f"fun {_shown_atom(term.module)}:{_shown_atom(term.function)}/{term.arity}"
        case Pid():
            return f"<{term.node}.{term.id}.{term.serial}>"
        case Port():
            return f"#Port<{term.node}.{term.id}>"
        case Reference():
            return f"#Ref<{term.node}.{'.'.join(map(str, reversed(term.ids)))}>"
        case Fun():
            return f"#Fun<{term.module}.{term.index}.{term.old_uniq}>"
    return repr(term)


def _shown_atom(name: str) -> str:
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return str(name)
    return "'" + _escaped(name, "'") + "'"


def _shown_list(items: list[Term]) -> str:
    if items and all(type(item) is int and _printable(item) for item in items):
        return '"' + _escaped("".join(map(chr, items)), '"') + '"'
    return "[" + ",".join(map(show, items)) + "]"


def _shown_binary(data: bytes) -> str:
    try:
        text, mark = data.decode(), "" if data.isascii() else "/utf8"
    except UnicodeDecodeError:
        text, mark = data.decode("latin-1"), ""
    if text and all(_printable(ord(character)) for character in text):
        return f'<<"{_escaped(text, chr(34))}"{mark}>>'
    return "<<" + ",".join(map(str, data)) + ">>"


def _printable(code: int) -> bool:
    """As io_lib:printable_unicode_list/1 has it."""
    return (
        32 <= code < 127
        or 160 <= code < 0xD800
        or 0xDFFF < code < 0xFFFE
        or 0xFFFF < code < 0x110000
        or (0 <= code < 32 and chr(code) in _ESCAPED)
    )


def _escaped(text: str, quote: str) -> str:
    def one(character: str) -> str:
        if character in (quote, "\\"):
            return f"\\{character}"
        if character in _ESCAPED:
            return f"\\{_ESCAPED[character]}"
        return character if _printable(ord(character)) else f"\\{ord(character):03o}"

    return "".join(map(one, text))


def _shown_float(number: float) -> str:
    """The fewest digits that read back as the same number; with an exponent where that is shorter."""
    sign, digits = "-" if str(number).startswith("-") else "", repr(abs(number))
    mantissa, _, exponent = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = int(exponent or 0) + len(whole)  # the value is 0.DIGITS * 10 ** point
    significant = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(significant)
    significant = significant.rstrip("0")
    if not significant:
        return sign + "0.0"
    length = len(significant)
    if 0 < point < length and abs(number) < 2**53:
        return f"{sign}{significant[:point]}.{significant[point:]}"
    scientific = f"{significant[0]}.{significant[1:] or '0'}e{point - 1}"
    plain = f"0.{'0' * -point}{significant}" if point <= 0 else f"{significant}{'0' * (point - length)}.0"
    return sign + (plain if len(plain) <= len(scientific) and abs(number) < 2**53 else scientific)
