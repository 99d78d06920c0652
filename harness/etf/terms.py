"""The Erlang terms that Python has no type of its own for (External Term Format, ERTS User's Guide).

The rest maps onto Python losslessly: integer - int, float - float, binary - bytes, tuple - tuple, list - list, map -
dict, and the atoms ``true``, ``false``, ``undefined`` - True, False, None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

# Any and not a union: what a remote function answers is known to its caller only, who would have to cast each time.
Term: TypeAlias = Any


class Atom(str):
    """An atom. Equals the plain str of the same characters, so that ``reply[0] == "ok"`` reads as it should; a plain
    str, however, is encoded as a binary.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


@dataclass(frozen=True, slots=True)
class Pid:
    node: Atom
    id: int
    serial: int
    creation: int


@dataclass(frozen=True, slots=True)
class Port:
    node: Atom
    id: int
    creation: int


@dataclass(frozen=True, slots=True)
class Reference:
    """``ids`` are the 32-bit words in wire order."""

    node: Atom
    creation: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """``fun module:function/arity``."""

    module: Atom
    function: Atom
    arity: int


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


@dataclass(frozen=True, slots=True)
class BitString:
    """A binary whose last byte counts only its ``last_bits`` (1..7) most significant bits."""

    data: bytes
    last_bits: int


@dataclass(frozen=True, slots=True)
class ImproperList:
    """``[a, b | tail]`` with a tail that is no list."""

    elements: tuple[Term, ...]
    tail: Term


@dataclass(frozen=True, slots=True)
class PairMap:
    """A map whose keys a dict cannot hold apart (1, 1.0 and true are one key to Python) or cannot hold at all (lists,
    maps). Pairs in wire order.
    """

    pairs: tuple[tuple[Term, Term], ...]

    def items(self) -> Iterator[tuple[Term, Term]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)
