"""The Erlang terms that Python has no type of its own for (External Term Format, ERTS User's Guide).

The rest maps onto Python losslessly: integer - int, float - float, binary - bytes, tuple - tuple, list - list, map -
dict, and the atoms ``true``, ``false``, ``undefined`` - True, False, None.

Each class also answers to the names that pyrlang-term uses: attributes with a trailing underscore, and its names of
the constructor's arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from operator import attrgetter, eq
from typing import Any, Final, TypeAlias, TypeVar

# Any and not a union: what a remote function answers is known to its caller only, who would have to cast each time.
Term: TypeAlias = Any

_Class = TypeVar("_Class", bound=type)


def _also(**names: str) -> Callable[[_Class], _Class]:
    """Class decorator: ``theirs="ours"`` makes `theirs` a keyword argument and ``theirs_`` an attribute."""

    def decorated(cls: _Class) -> _Class:
        plain = vars(cls)["__init__"]

        @wraps(plain)
        def init(self: Any, *args: Any, **keywords: Any) -> None:
            if keywords:
                keywords = {names.get(name, name): value for name, value in keywords.items()}
            plain(self, *args, **keywords)

        type.__setattr__(cls, "__init__", init)
        for theirs, ours in names.items():
            setattr(cls, f"{theirs}_", property(attrgetter(ours)))
        return cls

    return decorated


class Atom(str):
    """An atom. Equals the plain str of the same characters, so that ``reply[0] == "ok"`` reads as it should; a plain
    str, however, is encoded as a binary or a list.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


class StrictAtom(Atom):
    """An atom that is another key in a dict than the plain str, and shows what it is when printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Strict{Atom.__repr__(self)}"

    def __str__(self) -> str:
        return self.__repr__()

    __eq__ = str.__eq__

    def __hash__(self) -> int:
        return hash((StrictAtom, str.__hash__(self)))


@_also(node_name="node", id="id", serial="serial", creation="creation")
@dataclass(frozen=True, slots=True)
class Pid:
    node: Atom
    id: int
    serial: int
    creation: int

    def is_local_to(self, node: Any) -> bool:
        """Whether it is a process of `node`, which has a ``node_name_``."""
        return bool(self.node == node.node_name_)


@_also(node_name="node", id="id", creation="creation")
@dataclass(frozen=True, slots=True)
class Port:
    node: Atom
    id: int
    creation: int


@_also(node_name="node", creation="creation", refid="ids")
@dataclass(frozen=True, slots=True)
class Reference:
    """``ids`` are the 32-bit words in wire order; their bytes may be given instead."""

    node: Atom
    creation: int
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.ids, bytes):
            object.__setattr__(self, "ids", struct.unpack(f">{len(self.ids) // 4}I", self.ids))

    @property
    def id_(self) -> bytes:
        """The words as bytes."""
        return struct.pack(f">{len(self.ids)}I", *self.ids)


@dataclass(frozen=True, slots=True)
class Export:
    """``fun module:function/arity``."""

    module: Atom
    function: Atom
    arity: int


@_also(
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


@_also(val="data", value="data", last_byte_bits="last_bits")
@dataclass(frozen=True, slots=True, eq=False)
class BitString:
    """A binary whose last byte counts only its ``last_bits`` (1..7) most significant bits. The others of that byte are
    kept, but make no difference.
    """

    data: bytes
    last_bits: int

    def _counting(self) -> tuple[bytes, int]:
        last = self.data[-1:]
        return self.data[:-1] + bytes(byte & (0xFF00 >> self.last_bits) for byte in last), self.last_bits

    def __eq__(self, other: object) -> bool:
        return self._counting() == other._counting() if isinstance(other, BitString) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._counting())


@_also(elements="elements", tail="tail")
@dataclass(frozen=True, slots=True)
class ImproperList:
    """``[a, b | tail]`` with a tail that is no list."""

    elements: tuple[Term, ...]
    tail: Term

    def __post_init__(self) -> None:
        if type(self.elements) is not tuple:
            object.__setattr__(self, "elements", tuple(self.elements))


@dataclass(frozen=True, slots=True, eq=False)
class PairMap:
    """A map whose keys a dict cannot hold apart (1, 1.0 and true are one key to Python) or cannot hold at all (lists,
    maps). Pairs in wire order, which makes no difference.
    """

    pairs: tuple[tuple[Term, Term], ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PairMap):
            return NotImplemented
        return len(self) == len(other) and _same_pairs(self.pairs, other.pairs, eq)

    def __hash__(self) -> int:
        return hash(frozenset(self.pairs))

    def items(self) -> Iterator[tuple[Term, Term]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


def map_of(keys: Sequence[Term], values: Sequence[Term]) -> dict[Term, Term] | PairMap:
    """A dict where it holds the keys apart, else a PairMap."""
    try:
        built = dict(zip(keys, values, strict=True))
        if len(built) == len(keys):
            return built
    except (TypeError, RecursionError):  # a key that Python cannot hash or compare, at all or so deep
        pass
    return PairMap(tuple(zip(keys, values, strict=True)))


def same_term(a: Term, b: Term) -> bool:
    """Erlang's ``=:=``: 1, 1.0 and true differ, an atom is no binary."""
    if isinstance(a, dict | PairMap) and isinstance(b, dict | PairMap):
        return len(a) == len(b) and _same_pairs(tuple(a.items()), tuple(b.items()), same_term)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(same_term, a, b))
    if isinstance(a, ImproperList) and isinstance(b, ImproperList):
        return same_term(a.elements, b.elements) and same_term(a.tail, b.tail)
    if isinstance(a, Atom) != isinstance(b, Atom):
        return False
    if isinstance(a, bool | int | float) or isinstance(b, bool | int | float):
        return type(a) is type(b) and a == b
    return bool(a == b)


_Pairs = tuple[tuple[Term, Term], ...]


def _same_pairs(these: _Pairs, those: _Pairs, same_value: Callable[[Term, Term], bool]) -> bool:
    """Whether as many pairs are the same ones, in whatever order; mostly it is the same order."""
    if all(
        same_term(key, other) and same_value(value, held)
        for (key, value), (other, held) in zip(these, those, strict=True)
    ):
        return True
    return all(any(same_term(key, other) and same_value(value, held) for other, held in those) for key, value in these)


# --- names of pyrlang-term ------------------------------------------------------------------------------------------

NIL: Final[list[Term]] = []  # to compare with; an empty list of one's own is as good


def list_to_unicode_str(characters: Sequence[int]) -> str:
    """The text of an Erlang string: a list of code points. Raises ValueError or TypeError if it is none."""
    return "".join(map(chr, characters))


def list_to_str(characters: Sequence[int]) -> bytes:
    """The bytes of a list of integers below 256 (bytes, as in pyrlang-term, whatever its name says)."""
    return bytes(characters)
