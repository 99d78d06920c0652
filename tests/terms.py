"""Random terms that any node takes, and what makes two of them the same to the last bit."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

from harness.etf import (
    Atom,
    BitString,
    Export,
    Fun,
    ImproperList,
    PairMap,
    Pid,
    Port,
    Reference,
    Term,
    encode,
)
from harness.etf.terms import map_of

_CHARACTERS = "abcXYZ019_@ .é\u03b1\u4e2d\U0001f600'\\\0"
_NODES = ("a@b", "true", "x@\u03b1", "long" * 60 + "@host")
_EDGES = [edge + step for edge in (0, 1 << 8, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 1 << 2040) for step in (-1, 0, 1)]


class RandomTerms:
    """``make()``: one term. The same `seed` makes the same terms.

    Funs are said to be made by `creator`: nodes since OTP 26 do not keep who it was, they name their init process.
    """

    def __init__(self, seed: int, creator: Pid | None = None) -> None:
        self._random = random.Random(seed)
        self._creator = creator

    def make(self, depth: int = 3) -> Term:
        one = self._random
        if depth and one.random() < 0.6:
            return one.choice(self._CONTAINERS)(self, depth - 1)
        return one.choice(self._LEAVES)(self)

    def many(self, depth: int, most: int = 5) -> list[Term]:
        return [self.make(depth) for _ in range(self._random.randint(0, most))]

    # --- leaves ---

    def _integer(self) -> int:
        one = self._random
        value = one.choice(
            (one.choice(_EDGES), one.getrandbits(one.randint(1, 70)), one.getrandbits(one.choice((500, 3000))))
        )
        return one.choice((value, -value))

    def _float(self) -> float:
        one = self._random
        while True:
            (value,) = struct.unpack(">d", one.getrandbits(64).to_bytes(8, "big"))
            value = one.choice((value, 0.0, -0.0, 1.0, 5e-324, one.uniform(-10, 10)))
            if value - value == 0:  # finite
                return float(value)

    def _text(self, most: int) -> str:
        return "".join(self._random.choices(_CHARACTERS, k=self._random.randint(0, most)))

    def _atom(self) -> Term:
        one = self._random
        name = one.choice(
            ("ok", "error", "", self._text(3), *("ab", "cd") * 5, "w" * 255, "\U0001f600" * one.randint(60, 70))
        )
        return one.choice((Atom(name), True, False, None))

    def _binary(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 20, 20, 300)))

    def _bits(self) -> BitString:
        bits = self._random.randint(1, 7)
        return BitString(self._binary() + bytes((self._random.getrandbits(8) & 0xFF00 >> bits & 0xFF,)), bits)

    def _word(self) -> int:
        return self._random.choice((0, 1, 7, self._random.getrandbits(15), self._random.getrandbits(32)))

    def _node(self) -> Atom:
        return Atom(self._random.choice(_NODES))

    def _pid(self) -> Pid:
        return Pid(self._node(), self._word(), self._word(), self._word())

    def _port(self) -> Port:
        return Port(self._node(), self._word() << self._random.choice((0, 20)), self._word())

    def _reference(self) -> Reference:
        # nodes refuse a first word of more than 18 bits
        words = (self._random.getrandbits(18), *(self._word() for _ in range(self._random.randint(0, 4))))
        return Reference(self._node(), self._word(), words)

    def _export(self) -> Export:
        return Export(Atom(self._text(3)), Atom(self._text(3)), self._random.randint(0, 255))

    def _string(self) -> list[int]:
        return [self._random.choice((0, 97, 255, 256)) for _ in range(self._random.randint(0, 6))]

    # --- with terms inside ---

    def _list(self, depth: int) -> list[Term]:
        return self.many(depth)

    def _tuple(self, depth: int) -> tuple[Term, ...]:
        return tuple(self.many(depth)) * (1 if depth else self._random.choice((1, 1, 60)))

    def _improper(self, depth: int) -> Term:
        tail = self.make(depth)
        elements = (self.make(depth), *self.many(depth, 2))
        return [*elements, *tail] if type(tail) is list else _improper(elements, tail)

    def _map(self, depth: int) -> Term:
        keys = {exactly(key): key for key in self.many(depth, 3 if depth else self._random.choice((2, 40)))}
        keys.pop(exactly(-0.0), None)  # to nodes before OTP 27 it is 0.0 over again
        return map_of(list(keys.values()), [self.make(depth) for _ in keys])

    def _mixed_keys(self, depth: int) -> Term:
        keys = self._random.sample((1, 1.0, True, b"1", Atom("1"), (1,), (1.0,), [1], {}, (), 2.0, 2), 6)
        return map_of(keys, [self.make(depth) for _ in keys])

    def _fun(self, depth: int) -> Fun:
        uniq = self._random.randbytes(16)
        creator = self._creator or self._pid()
        return Fun(Atom("m" + self._text(2)), 1, uniq, self._word(), 7, 1 << 26, creator, tuple(self.many(depth, 3)))

    _LEAVES: tuple[Callable[[RandomTerms], Term], ...] = (
        _integer, _integer, _float, _atom, _atom, _binary, _bits, _pid, _port, _reference, _export, _string,
    )  # fmt: skip
    _CONTAINERS: tuple[Callable[[RandomTerms, int], Term], ...] = (
        _list, _list, _tuple, _tuple, _map, _mixed_keys, _improper, _fun,
    )  # fmt: skip


def _improper(elements: tuple[Term, ...], tail: Term) -> ImproperList:
    if type(tail) is ImproperList:
        return ImproperList(elements + tail.elements, tail.tail)
    return ImproperList(elements, tail)


def exactly(term: Term) -> Any:
    """Equal for the same terms only: bit for bit, but maps in any order."""
    match term:
        case dict() | PairMap():
            return "map", frozenset((exactly(key), exactly(value)) for key, value in term.items())
        case list() | tuple():
            return type(term), tuple(map(exactly, term))
        case ImproperList():
            return ImproperList, exactly(term.elements), exactly(term.tail)
        case Fun():
            return encode(Fun(*(getattr(term, name) for name in Fun.__slots__[:-1]), ())), exactly(term.free)
    return encode(term)
