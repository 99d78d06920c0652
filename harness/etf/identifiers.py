"""Atoms, and what has an identity among nodes: pids, ports, references, funs by their name.

Each class also answers to the names that pyrlang-term uses: attributes with a trailing underscore, and its names of
the constructor's arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


def also_named(**names: str) -> Callable[[_Class], _Class]:
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


@also_named(node_name="node", id="id", serial="serial", creation="creation")
@dataclass(frozen=True, slots=True)
class Pid:
    node: Atom
    id: int
    serial: int
    creation: int

    def equals(self, other: object) -> bool:
        return self == other

    def is_local_to(self, node: Any) -> bool:
        """Whether it is a process of `node`, which has a ``node_name_``."""
        return bool(self.node == node.node_name_)


@also_named(node_name="node", id="id", creation="creation")
@dataclass(frozen=True, slots=True)
class Port:
    node: Atom
    id: int
    creation: int


@also_named(node_name="node", creation="creation", refid="ids")
@dataclass(frozen=True, slots=True)
class Reference:
    """``ids`` are the 32-bit words in wire order; their bytes may be given instead."""

    node: Atom
    creation: int
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.ids, bytes):
            if len(self.ids) % 4:
                raise ValueError(f"the words of a reference have 4 bytes each, got {len(self.ids)} bytes")
            object.__setattr__(self, "ids", struct.unpack(f">{len(self.ids) // 4}I", self.ids))
        elif type(self.ids) is not tuple:
            object.__setattr__(self, "ids", tuple(self.ids))

    def equals(self, other: object) -> bool:
        return self == other

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
