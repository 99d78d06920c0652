"""Python -> External Term Format, with the tags that a current node itself would choose."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from harness.errors import EncodeError
from harness.etf.terms import (
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
)

_u16 = struct.Struct(">BH").pack
_u32 = struct.Struct(">BI").pack
_i32 = struct.Struct(">Bi").pack
_f64 = struct.Struct(">Bd").pack

_ATOMS_MAX = 16_384
_atoms: dict[str, bytes] = {}

_MAX_DEPTH = 100_000  # a Python list can contain itself; an Erlang term cannot


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """``compressed``: zlib level 1-9, 0 for none; as in Erlang, used only where it makes the term smaller."""

    compressed: int = 0


def term_to_binary(term: Term, options: EncodeOptions | None = None) -> bytes:
    """`term` with the version byte. str becomes a UTF-8 binary, True/False/None the atoms true/false/undefined.

    Raises EncodeError for what Erlang has no counterpart of.
    """
    plain = encode(term)
    if options is not None and options.compressed:
        packed = zlib.compress(plain, options.compressed)
        if len(packed) + 5 < len(plain):
            return b"\x83P" + len(plain).to_bytes(4, "big") + packed
    return b"\x83" + plain


def encode(term: Term) -> bytes:
    """`term` without version byte: what goes inside another term."""
    out: list[bytes] = []
    write = out.append
    leaves = _LEAVES
    stack: list[Iterator[Term]] = []
    level: Iterator[Term] = iter((term,))
    while True:
        for value in level:
            kind = type(value)
            leaf = leaves.get(kind)
            if leaf is not None:
                write(leaf(value))
                continue
            open_container = _CONTAINERS.get(kind) or _fallback(value)
            head, children = open_container(value)
            write(head)
            if children is not None:
                if len(stack) >= _MAX_DEPTH:
                    raise EncodeError("encode", f"nested deeper than {_MAX_DEPTH}", "does the term contain itself?")
                stack.append(level)
                level = children
                break
        else:
            if not stack:
                return b"".join(out)
            level = stack.pop()


def encode_atom(name: str) -> bytes:
    """The atom `name`, without version byte."""
    known = _atoms.get(name)
    if known is not None:
        return known
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise EncodeError("encode", f"atom {name!r} is not Unicode text") from None
    if len(name) > 255:
        raise EncodeError("encode", "an atom has at most 255 characters", f"got {len(name)}")
    made = bytes((119, len(raw))) + raw if len(raw) < 256 else _u16(118, len(raw)) + raw
    if len(_atoms) < _ATOMS_MAX:
        _atoms[str(name)] = made
    return made


# --- leaves -----------------------------------------------------------------------------------------------------------

_SMALL = [bytes((97, value)) for value in range(256)]


def _integer(value: int) -> bytes:
    if 0 <= value <= 255:
        return _SMALL[value]
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _i32(98, value)
    magnitude = abs(value)
    raw = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "little")
    head = bytes((110, len(raw))) if len(raw) < 256 else _u32(111, len(raw))
    return head + (b"\1" if value < 0 else b"\0") + raw


def _float(value: float) -> bytes:
    if not math.isfinite(value):
        raise EncodeError("encode", f"Erlang has no float {value}")
    return _f64(70, value)


def _binary(value: bytes | bytearray | memoryview) -> bytes:
    raw = bytes(value)
    return _u32(109, len(raw)) + raw


def _text(value: str) -> bytes:
    try:
        return _binary(value.encode())
    except UnicodeEncodeError:
        raise EncodeError("encode", "text with lone surrogates has no UTF-8 form", "send bytes") from None


def _boolean(value: bool) -> bytes:
    return b"w\4true" if value else b"w\5false"


def _none(_value: None) -> bytes:
    return b"w\tundefined"


def _pid(value: Pid) -> bytes:
    return b"X" + encode_atom(value.node) + struct.pack(">III", value.id, value.serial, value.creation)


def _port(value: Port) -> bytes:
    return b"x" + encode_atom(value.node) + struct.pack(">QI", value.id, value.creation)


def _reference(value: Reference) -> bytes:
    count = len(value.ids)
    return _u16(90, count) + encode_atom(value.node) + struct.pack(f">I{count}I", value.creation, *value.ids)


def _export(value: Export) -> bytes:
    return b"q" + encode_atom(value.module) + encode_atom(value.function) + bytes((97, value.arity))


def _bit_string(value: BitString) -> bytes:
    return _u32(77, len(value.data)) + bytes((value.last_bits,)) + value.data


def _checked(pack: Callable[[Term], bytes]) -> Callable[[Term], bytes]:
    """Fields of hand-made pids and the like may be out of range."""

    def packed(value: Term) -> bytes:
        try:
            return pack(value)
        except (struct.error, ValueError) as error:
            raise EncodeError("encode", f"field of {value!r} out of range ({error})") from None

    return packed


_LEAVES: dict[type, Callable[[Term], bytes]] = {
    int: _integer,
    Atom: encode_atom,
    bytes: _binary,
    str: _text,
    bool: _boolean,
    type(None): _none,
    float: _float,
    bytearray: _binary,
    memoryview: _binary,
    Pid: _checked(_pid),
    Port: _checked(_port),
    Reference: _checked(_reference),
    Export: _checked(_export),
    BitString: _checked(_bit_string),
}


# --- containers: their head, and the children that follow it (None: the head was all) -------------------------------

_Open = Callable[[Term], tuple[bytes, Iterator[Term] | None]]
_NIL: tuple[list[Term]] = ([],)


def _tuple(value: tuple[Term, ...]) -> tuple[bytes, Iterator[Term] | None]:
    count = len(value)
    return (bytes((104, count)) if count < 256 else _u32(105, count)), iter(value)


def _list(value: list[Term]) -> tuple[bytes, Iterator[Term] | None]:
    if not value:
        return b"j", None
    count = len(value)
    first = value[0]
    if type(first) is int and 0 <= first <= 255 and count < 65536 and set(map(type, value)) == {int}:
        try:
            return _u16(107, count) + bytes(value), None
        except ValueError:
            pass  # not all are bytes: an ordinary list
    return _u32(108, count), chain(value, _NIL)


def _improper(value: ImproperList) -> tuple[bytes, Iterator[Term] | None]:
    return _u32(108, len(value.elements)), chain(value.elements, (value.tail,))


def _map(value: dict[Term, Term] | PairMap) -> tuple[bytes, Iterator[Term] | None]:
    return _u32(116, len(value)), chain.from_iterable(value.items())


def _fun(value: Fun) -> tuple[bytes, Iterator[Term] | None]:
    inside = b"".join(map(encode, (value.module, value.old_index, value.old_uniq, value.pid, *value.free)))
    head = struct.pack(">B16sII", value.arity, value.uniq, value.index, len(value.free))
    return b"p" + struct.pack(">I", 4 + len(head) + len(inside)) + head + inside, None


_CONTAINERS: dict[type, _Open] = {
    tuple: _tuple,
    list: _list,
    dict: _map,
    ImproperList: _improper,
    PairMap: _map,
    Fun: _fun,
}


# For subclasses (named tuples, enums, ordered dicts): as their base. bool comes before int, Atom before str.
_LEAF_BASES: tuple[type, ...] = (Atom, bool, int, float, str, bytes)
_CONTAINER_BASES: tuple[type, ...] = (tuple, list, dict)


def _fallback(value: Term) -> _Open:
    for base in _LEAF_BASES:
        if isinstance(value, base):
            made = _LEAVES[base](value)
            return lambda _value: (made, None)
    for base in _CONTAINER_BASES:
        if isinstance(value, base):
            return _CONTAINERS[base]
    raise EncodeError("encode", f"no Erlang term for a {type(value).__name__}")
