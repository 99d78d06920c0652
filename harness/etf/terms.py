"""The Erlang terms that Python has no type of its own for (External Term Format, ERTS User's Guide).

The rest maps onto Python losslessly: integer - int, float - float, binary - bytes, tuple - tuple, list - list, map -
dict, and the atoms ``true``, ``false``, ``undefined`` - True, False, None.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Any, Final, TypeAlias

from harness.etf.identifiers import Atom, Export, Pid, Port, Reference, StrictAtom, also_named

__all__ = [
    "Atom",
    "BitString",
    "Export",
    "Fun",
    "ImproperList",
    "PairMap",
    "Pid",
    "Port",
    "Reference",
    "StrictAtom",
    "Term",
    "distinct",
    "identity",
    "list_of",
    "map_of",
    "same_term",
]

# Any and not a union: what a remote function answers is known to its caller only, who would have to cast each time.
Term: TypeAlias = Any


@also_named(
    mod="module", module="module", arity="arity", uniq="uniq", index="index", old_index="old_index",
    old_uniq="old_uniq", pid="pid", free="free",
)  # fmt: skip
@dataclass(frozen=True, slots=True)
class Fun:
    """A local fun: opaque here, but it can be sent back to where it came from."""

    module: Atom
    arity: int
    uniq: bytes
    index: int
    old_index: int
    old_uniq: int
    pid: Pid
    free: tuple[Term, ...]


@also_named(val="data", value="data", last_byte_bits="last_bits")
@dataclass(frozen=True, slots=True, eq=False)
class BitString:
    """A binary whose last byte counts only its ``last_bits`` (1..7) most significant bits. The others of that byte are
    kept, but make no difference. With 8 it is a binary.
    """

    data: bytes
    last_bits: int = 8

    def _counting(self) -> tuple[bytes, int]:
        last = self.data[-1:]
        return self.data[:-1] + bytes(byte & (0xFF00 >> self.last_bits) for byte in last), self.last_bits

    def __eq__(self, other: object) -> bool:
        return self._counting() == other._counting() if isinstance(other, BitString) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._counting())


@also_named(tail="tail")
@dataclass(frozen=True, slots=True)
class ImproperList:
    """``[a, b | tail]``; raises ValueError where the tail is a list: that is a list."""

    elements: tuple[Term, ...]
    tail: Term

    def __post_init__(self) -> None:
        elements, tail = tuple(self.elements), self.tail
        if isinstance(tail, list):
            raise ValueError("the tail of an improper list is no list")
        while type(tail) is ImproperList:
            elements, tail = elements + tail.elements, tail.tail
        object.__setattr__(self, "elements", elements)
        object.__setattr__(self, "tail", tail)

    @property
    def elements_(self) -> list[Term]:
        return list(self.elements)


@dataclass(frozen=True, slots=True, eq=False)
class PairMap:
    """A map whose keys a dict cannot hold apart (1, 1.0 and true are one key to Python) or cannot hold at all (lists,
    maps). Pairs in wire order, which makes no difference; equal to whatever map is the same term. Raises TypeError for
    what is no pairs.
    """

    pairs: tuple[tuple[Term, Term], ...]
    known: bytes | None = field(default=None, init=False, repr=False)  # its identity, once it was (part of) a key

    def __post_init__(self) -> None:
        if type(self.pairs) is not tuple or any(type(pair) is not tuple or len(pair) != 2 for pair in self.pairs):
            object.__setattr__(self, "pairs", _pairs_of(self.pairs))

    def __eq__(self, other: object) -> bool:
        return same_term(self, other) if isinstance(other, PairMap | dict) else NotImplemented

    def __hash__(self) -> int:
        return hash(identity(self, frozen=True))

    def items(self) -> Iterator[tuple[Term, Term]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


def _pairs_of(pairs: Iterable[Any]) -> tuple[tuple[Term, Term], ...]:
    try:
        return tuple((key, value) for key, value in pairs)
    except (TypeError, ValueError):
        raise TypeError("a PairMap is made of pairs (key, value)") from None


# Of a key in a dict: hash() is recursion in C, of some 600 bytes of stack for an improper list. The compiled decoder
# has no deeper terms at all.
KEY_DEPTH: Final = 256


def map_of(keys: Sequence[Term], values: Sequence[Term]) -> dict[Term, Term] | PairMap:
    """A dict where it holds the keys apart, else a PairMap."""
    try:
        if not _deep(keys):
            built = dict(zip(keys, values, strict=True))
            if len(built) == len(keys):
                return built
    except (TypeError, RecursionError):  # a key that Python cannot hash or compare, at all or so deep
        pass
    return PairMap(tuple(zip(keys, values, strict=True)))


def _deep(level: Iterable[Term]) -> bool:
    """Whether tuples and the like are nested beyond KEY_DEPTH. Maps are hashed without recursion."""
    for _ in range(KEY_DEPTH):
        inside: list[Term] = []
        for term in level:
            kind = type(term)
            if kind is tuple:
                inside += term
            elif kind is ImproperList:
                inside += (*term.elements, term.tail)
            elif kind is Fun:
                inside += term.free
        if not inside:
            return False
        level = inside
    return True


def list_of(elements: list[Term], tail: Term) -> Term:
    """``[elements | tail]``; without elements the tail. `elements` may become part of what is made."""
    if not elements:
        return tail
    if type(tail) is list:
        elements += tail
        return elements
    return ImproperList(tuple(elements), tail)


# --- what two terms have in common that are the same one ------------------------------------------------------------


def same_term(a: Term, b: Term) -> bool:
    """The ``=:=`` of OTP 27: 1, 1.0 and true differ, 0.0 and -0.0 do (up to OTP 26 they did not), an atom is no binary.

    A str, which is no term by itself, is the same as an equal str only; what is no term at all as itself only.
    """
    return a is b or identity(a) == identity(b)


def distinct(keys: Sequence[Term]) -> bool:
    """Whether no two of the keys of a map are the same term."""
    return len({identity(key, frozen=True) for key in keys}) == len(keys)


def identity(term: Term, *, frozen: bool = False) -> bytes:
    """16 bytes that the same term only has, in time linear in its size, without recursion.

    `frozen`: it is a key, so that what is inside will not change; PairMaps in it remember theirs.
    """
    stack: list[tuple[Iterator[Term], list[bytes], Term, bytes]] = []
    level: Iterator[Term] = iter((term,))
    done: list[bytes] = []
    holder: Term = None
    head = b""
    while True:
        for value in level:
            opened, inside = _parts(value)
            if inside is None:
                done.append(opened)
                continue
            stack.append((level, done, holder, head))
            level, done, holder, head = inside, [], value, opened
            break
        else:
            if not stack:
                return done[0]
            if head == _MAP:
                done = sorted(map(bytes.__add__, done[::2], done[1::2]))
            made = _digest(head + b"".join(done))
            if frozen and isinstance(holder, PairMap):
                object.__setattr__(holder, "known", made)
            level, done, holder, head = stack.pop()
            done.append(made)


_MAP: Final = b"map"
_Parts = tuple[bytes, Iterator[Term] | None]  # what it is by itself, or its head and what is inside


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=16).digest()


def _parts(term: Term) -> _Parts:
    for kind in type(term).__mro__:
        parts = _PARTS.get(kind)
        if parts is not None:
            return parts(term)
    return _digest(b"object %d" % id(term)), None


def _leaf(kind: bytes, raw: Callable[[Any], bytes]) -> Callable[[Any], _Parts]:
    return lambda term: (_digest(kind + raw(term)), None)


def _utf8(text: str) -> bytes:
    return str.encode(text, "utf-8", "surrogatepass")


def _integer(value: int) -> bytes:
    return int.to_bytes(value, int.bit_length(value) // 8 + 1, "big", signed=True)


def _identifier(term: Any) -> _Parts:
    names = type(term).__dataclass_fields__
    fields = (getattr(term, name) for name in names)
    return b"%s:%d:" % (type(term).__name__.encode(), len(names)), (
        Atom(value) if type(value) is str else value for value in fields
    )


def _bits(term: BitString) -> _Parts:
    if term.last_bits == 8:
        return _parts(bytes(term.data))
    data, last = term._counting()
    return _digest(b"bits%d:" % last + data), None


def _pairs(term: PairMap) -> _Parts:
    return (_MAP, chain.from_iterable(term.pairs)) if term.known is None else (term.known, None)


_PARTS: Final[dict[type, Callable[[Any], _Parts]]] = {
    Atom: _leaf(b"atom", _utf8),
    bool: _leaf(b"atom", lambda value: b"true" if value else b"false"),
    type(None): _leaf(b"atom", lambda _: b"undefined"),
    int: _leaf(b"int", _integer),
    float: _leaf(b"float", struct.Struct(">d").pack),
    str: _leaf(b"text", _utf8),
    bytes: _leaf(b"binary", bytes),
    bytearray: _leaf(b"binary", bytes),
    memoryview: _leaf(b"binary", bytes),
    tuple: lambda term: (b"tuple", tuple.__iter__(term)),
    list: lambda term: (b"list", list.__iter__(term)),
    dict: lambda term: (_MAP, chain.from_iterable(dict.items(term))),
    ImproperList: lambda term: (b"improper", iter((*term.elements, term.tail))),
    PairMap: _pairs,
    BitString: _bits,
    **dict.fromkeys((Pid, Port, Reference, Export, Fun), _identifier),
}
