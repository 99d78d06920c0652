"""Terms as a person writes them: Erlang's syntax, sans-I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from harness.etf import Atom, Export, ImproperList, PairMap, Term
from harness.etf.show import RESERVED, show

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<float>-?\d+\.\d+(?:[eE][+-]?\d+)?)
    | (?P<based>-?\d+\#[0-9a-zA-Z]+)
    | (?P<integer>-?\d[\d_]*)
    | (?P<char>\$(?:\\.|[^\\]))
    | (?P<atom>[a-zß-öø-ÿ][\w@]*)
    | '(?P<quoted>(?:[^'\\]|\\.)*)'
    | "(?P<string>(?:[^"\\]|\\.)*)"
    | (?P<mark>\#\{|=>|<<|>>|[\[\]{}(),|:/])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "s": " ",
    "d": "\x7f",
    "0": "\0",
}
_ESCAPE = re.compile(r"\\(x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "undefined": None}
_DEPTH = 200


def read(text: str) -> Term:
    """The term that `text` is: numbers, ``$c``, atoms, "strings" (lists of code points), lists, tuples, maps, binaries
    (bytes and strings, each perhaps ``/utf8``), ``fun m:f/1``; a full stop may end it.

    Raises ValueError, which says where it stopped.
    """
    parser = _Parser(text.rstrip().removesuffix("."))
    term = parser.term()
    parser.end()
    return term


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._kind: str | None = None
        self._value = ""
        self._next()

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._at)
        self._start = self._at
        if found is None:
            self._kind, self._value = None, ""
        else:
            self._kind = found.lastgroup
            self._value = found[found.lastgroup or 0]
            self._at = found.end()

    def _wrong(self) -> ValueError:
        rest = self._text[self._start :].strip()[:20]
        return ValueError(f"no Erlang term at {rest!r}" if rest else "the term is not complete")

    def end(self) -> None:
        if self._kind is not None or self._text[self._start :].strip():
            raise self._wrong()

    def _is(self, mark: str) -> bool:
        return self._kind == "mark" and self._value == mark

    def _take(self, kind: str) -> str:
        if self._kind != kind:
            raise self._wrong()
        value = self._value
        self._next()
        return value

    def _mark(self, mark: str) -> None:
        if not self._is(mark):
            raise self._wrong()
        self._next()

    def term(self) -> Term:
        kind, value = self._kind, self._value
        if kind == "mark":
            self._depth += 1
            if self._depth > _DEPTH:
                raise ValueError(f"deeper than {_DEPTH}")
            term = self._compound(value)
            self._depth -= 1
            return term
        if kind is None:
            raise self._wrong()
        if kind == "atom" and value == "fun":
            return self._fun()
        if kind == "atom" and value in RESERVED:
            raise self._wrong()
        self._next()
        return _simple(kind, value)

    def _compound(self, mark: str) -> Term:
        reader: dict[str, Callable[[], Term]] = {
            "[": self._list,
            "{": lambda: tuple(self._items("}", self.term)),
            "#{": self._map,
            "<<": self._binary,
        }
        if mark not in reader:
            raise self._wrong()
        self._next()
        return reader[mark]()

    def _items(self, closing: str, item: Callable[[], Any]) -> list[Any]:
        items: list[Any] = []
        while not self._is(closing):
            if items:
                self._mark(",")
            items.append(item())
        self._next()
        return items

    def _list(self) -> Term:
        items: list[Term] = []
        while not self._is("]"):
            if items:
                if self._is("|"):
                    self._next()
                    tail = self.term()
                    self._mark("]")
                    return items + tail if isinstance(tail, list) else ImproperList(tuple(items), tail)
                self._mark(",")
            items.append(self.term())
        self._next()
        return items

    def _map(self) -> Term:
        def pair() -> tuple[Term, Term]:
            key = self.term()
            self._mark("=>")
            return key, self.term()

        pairs = self._items("}", pair)
        try:
            plain = dict(pairs)
        except TypeError:  # a list or a map as a key
            return PairMap(tuple(pairs))
        return plain if len(plain) == len(pairs) else PairMap(tuple(pairs))

    def _binary(self) -> bytes:
        return b"".join(self._items(">>", self._segment))

    def _segment(self) -> bytes:
        term = self.term()
        coded = "latin-1"
        if self._is("/"):
            self._next()
            if self._take("atom") != "utf8":
                raise ValueError("of the types of binary segments only utf8 is known here")
            coded = "utf-8"
        try:
            if isinstance(term, list):
                return "".join(map(chr, term)).encode(coded)
            return chr(term).encode() if coded == "utf-8" else bytes((term % 256,))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{show(term)} is no segment of a binary") from None

    def _fun(self) -> Export:
        self._next()
        module = self._name()
        self._mark(":")
        function = self._name()
        self._mark("/")
        return Export(module, function, int(self._take("integer")))

    def _name(self) -> Atom:
        return Atom(_unescaped(self._take("quoted")) if self._kind == "quoted" else self._take("atom"))


def _simple(kind: str, value: str) -> Term:
    match kind:
        case "float":
            if math.isinf(float(value)):
                raise ValueError(f"{value} is greater than any float")
            return float(value)
        case "integer":
            return int(value)
        case "based":
            base, digits = value.split("#")
            return int(digits, abs(int(base))) * (-1 if base.startswith("-") else 1)
        case "char":
            return ord(_unescaped(value[1:]))
        case "string":
            return [ord(character) for character in _unescaped(value)]
        case "quoted":
            return _atom(_unescaped(value))
    return _atom(value)


def _atom(name: str) -> Term:
    return _WORDS[name] if name in _WORDS else Atom(name)


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1]
        if code[0] == "x" and len(code) > 1:
            return chr(int(code.strip("x{}"), 16))
        if code[0] in "01234567":
            return chr(int(code, 8))
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, text)
