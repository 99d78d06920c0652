"""The terms without terms inside: each reader takes (bytes, position of the tag, atom cache or None) and gives (value,
position after it). The atom cache is what the references of a distribution header stand for; atoms inside pids may be
such references too.

A reader may run past the end: indexing raises IndexError, unpacking struct.error, and a slice that came out short is
found by `decode` in the end position.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from harness.errors import DecodeError
from harness.etf.terms import Atom, BitString, Export, Pid, Port, Reference, Term

AtomValue = Atom | bool | None
Cache = Sequence[AtomValue] | None
Leaf = Callable[[bytes, int, Cache], tuple[Term, int]]

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_id_serial_creation = struct.Struct(">III").unpack_from

# Interned atoms by their bytes on the wire. Bounded, because a peer chooses what comes in; when full, begun anew, so
# that a flood of atoms does no lasting harm.
_ATOMS_MAX = 16_384
_WELL_KNOWN: dict[str, bool | None] = {"true": True, "false": False, "undefined": None}
UTF8_ATOMS: dict[bytes, AtomValue] = {}
_latin1_atoms: dict[bytes, AtomValue] = {}


def read_atom(data: bytes, start: int, end: int, encoding: str, known: dict[bytes, AtomValue]) -> AtomValue:
    raw = data[start:end]
    if len(raw) != end - start:
        raise IndexError
    if raw in known:
        return known[raw]
    try:
        text = str(raw, encoding)
    except UnicodeDecodeError:
        raise DecodeError("atom is not UTF-8", start) from None
    if len(text) > 255:
        raise DecodeError("atom longer than 255 characters", start)
    value = _WELL_KNOWN[text] if text in _WELL_KNOWN else Atom(text)
    if len(known) >= _ATOMS_MAX:
        known.clear()
    known[raw] = value
    return value


def _atom_utf8(data: bytes, pos: int, _cache: Cache) -> tuple[AtomValue, int]:
    end = pos + 3 + _u16(data, pos + 1)[0]
    return read_atom(data, pos + 3, end, "utf-8", UTF8_ATOMS), end


def _atom_latin1(data: bytes, pos: int, _cache: Cache) -> tuple[AtomValue, int]:
    end = pos + 3 + _u16(data, pos + 1)[0]
    return read_atom(data, pos + 3, end, "latin-1", _latin1_atoms), end


def _small_atom_utf8(data: bytes, pos: int, _cache: Cache) -> tuple[AtomValue, int]:
    end = pos + 2 + data[pos + 1]
    return read_atom(data, pos + 2, end, "utf-8", UTF8_ATOMS), end


def _small_atom_latin1(data: bytes, pos: int, _cache: Cache) -> tuple[AtomValue, int]:
    end = pos + 2 + data[pos + 1]
    return read_atom(data, pos + 2, end, "latin-1", _latin1_atoms), end


def _cached_atom(data: bytes, pos: int, cache: Cache) -> tuple[AtomValue, int]:
    if cache is None:
        raise DecodeError("atom cache reference outside a distribution header", pos, 82)
    entry = data[pos + 1]
    if entry >= len(cache):
        raise DecodeError(f"atom cache reference {entry} of {len(cache)}", pos, 82)
    return cache[entry], pos + 2


_ATOM_TAGS: dict[int, Callable[[bytes, int, Cache], tuple[AtomValue, int]]] = {
    82: _cached_atom,
    100: _atom_latin1,
    115: _small_atom_latin1,
    118: _atom_utf8,
    119: _small_atom_utf8,
}


def atom_name(value: Term) -> Atom | None:
    """What was read where a name stands: always an Atom, even ``true``. None: it is no atom."""
    if type(value) is Atom:
        return value
    if value is None:
        return Atom("undefined")
    return Atom(str(value).lower()) if type(value) is bool else None


def _atom_inside(data: bytes, pos: int, cache: Cache) -> tuple[Atom, int]:
    """The atom inside a pid, port, reference or export."""
    tag = data[pos]
    reader = _ATOM_TAGS.get(tag)
    value, end = reader(data, pos, cache) if reader else (0, pos)
    name = atom_name(value)
    if name is None:
        raise DecodeError("an atom was expected", pos, tag)
    return name, end


def _small_big(data: bytes, pos: int, _cache: Cache) -> tuple[int, int]:
    return _big(data, pos + 2, data[pos + 1])


def _large_big(data: bytes, pos: int, _cache: Cache) -> tuple[int, int]:
    return _big(data, pos + 5, _u32(data, pos + 1)[0])


def _big(data: bytes, pos: int, count: int) -> tuple[int, int]:
    sign = data[pos]
    if sign > 1:
        raise DecodeError("sign of an integer is neither 0 nor 1", pos)
    end = pos + 1 + count
    value = int.from_bytes(data[pos + 1 : end], "little")
    return (-value if sign else value), end


def _old_float(data: bytes, pos: int, _cache: Cache) -> tuple[float, int]:
    end = pos + 32
    text = data[pos + 1 : end].rstrip(b"\0")
    try:
        if text.translate(None, b"0123456789+-.eE"):
            raise ValueError
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
    except ValueError:
        raise DecodeError("malformed float", pos, 99) from None
    return value, end


def _bit_binary(data: bytes, pos: int, _cache: Cache) -> tuple[BitString | bytes, int]:
    count, bits = _u32(data, pos + 1)[0], data[pos + 5]
    end = pos + 6 + count
    if not 1 <= bits <= 8 or not count:
        raise DecodeError("malformed bit string", pos, 77)
    value = data[pos + 6 : end]
    if bits == 8:
        return value, end
    return BitString(value[:-1] + bytes((data[end - 1] & 0xFF00 >> bits,)), bits), end  # the others mean nothing


def _pid(data: bytes, pos: int, cache: Cache) -> tuple[Pid, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    number, serial, creation = _id_serial_creation(data, at)
    return Pid(node, number, serial, creation), at + 12


def _old_pid(data: bytes, pos: int, cache: Cache) -> tuple[Pid, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    return Pid(node, _u32(data, at)[0], _u32(data, at + 4)[0], data[at + 8]), at + 9


def _port(data: bytes, pos: int, cache: Cache) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    return Port(node, _u32(data, at)[0], _u32(data, at + 4)[0]), at + 8


def _old_port(data: bytes, pos: int, cache: Cache) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    return Port(node, _u32(data, at)[0], data[at + 4]), at + 5


def _v4_port(data: bytes, pos: int, cache: Cache) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    return Port(node, (_u32(data, at)[0] << 32) | _u32(data, at + 4)[0], _u32(data, at + 8)[0]), at + 12


def _reference(data: bytes, pos: int, cache: Cache) -> tuple[Reference, int]:
    count = _u16(data, pos + 1)[0]
    node, at = _atom_inside(data, pos + 3, cache)
    return Reference(node, _u32(data, at)[0], _words(data, pos, at + 4, count)), at + 4 + 4 * count


def _new_reference(data: bytes, pos: int, cache: Cache) -> tuple[Reference, int]:
    count = _u16(data, pos + 1)[0]
    node, at = _atom_inside(data, pos + 3, cache)
    return Reference(node, data[at], _words(data, pos, at + 1, count)), at + 1 + 4 * count


def _old_reference(data: bytes, pos: int, cache: Cache) -> tuple[Reference, int]:
    node, at = _atom_inside(data, pos + 1, cache)
    return Reference(node, data[at + 4], (_u32(data, at)[0],)), at + 5


def _words(data: bytes, pos: int, at: int, count: int) -> tuple[int, ...]:
    if not 1 <= count <= 5:
        raise DecodeError("a reference has 1 to 5 words", pos, data[pos])
    return struct.unpack_from(f">{count}I", data, at)


def _export(data: bytes, pos: int, cache: Cache) -> tuple[Export, int]:
    module, at = _atom_inside(data, pos + 1, cache)
    function, at = _atom_inside(data, at, cache)
    if data[at] != 97:
        raise DecodeError("arity of an export is a small integer", at, data[at])
    return Export(module, function, data[at + 1]), at + 2


LEAVES: dict[int, Leaf] = {
    **_ATOM_TAGS,
    77: _bit_binary,
    88: _pid,
    89: _port,
    90: _reference,
    99: _old_float,
    101: _old_reference,
    102: _old_port,
    103: _old_pid,
    110: _small_big,
    111: _large_big,
    113: _export,
    114: _new_reference,
    120: _v4_port,
}

UNSUPPORTED = {
    121: "LOCAL_EXT can be read by the node that wrote it only",
    117: "FUN_EXT is not written any more since OTP 23",
    80: "compressed term inside a term",
}
