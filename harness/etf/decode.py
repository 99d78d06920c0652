"""External Term Format -> Python (ERTS User's Guide, chapter External Term Format).

One loop with a stack of its own: no input can exhaust Python's, and the common terms cost no function call. A claimed
length reserves nothing; each element of a container takes a byte at least, so a claim beyond the input is refused
before anything is built.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import DecodeError
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

VERSION = 131
_COMPRESSED = 80

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_i32 = struct.Struct(">i").unpack_from
_f64 = struct.Struct(">d").unpack_from
_id_serial_creation = struct.Struct(">III").unpack_from
_fun_head = struct.Struct(">IB16sII").unpack_from

# Interned atoms by their bytes on the wire. Bounded, because a peer chooses what comes in; when full, new ones are
# simply made each time.
_ATOMS_MAX = 16_384
_WELL_KNOWN: dict[str, bool | None] = {"true": True, "false": False, "undefined": None}
_utf8_atoms: dict[bytes, Atom | bool | None] = {}
_latin1_atoms: dict[bytes, Atom | bool | None] = {}


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Limits for input from elsewhere: nesting depth; bytes of the encoded and of the decompressed term."""

    max_depth: int = 512
    max_size: int = 1 << 28


_DEFAULT = DecodeOptions()


def binary_to_term(data: bytes | bytearray | memoryview, options: DecodeOptions | None = None) -> tuple[Term, bytes]:
    """The term at the start of `data` (version byte, perhaps compressed) and the bytes after it.

    Raises DecodeError (with offset and tag), and nothing else whatever the bytes are.
    """
    options = options or _DEFAULT
    raw = data if type(data) is bytes else bytes(data)
    if not raw:
        raise DecodeError("empty input", 0)
    if raw[0] != VERSION:
        raise DecodeError("no version byte 131", 0, raw[0])
    if len(raw) > 1 and raw[1] == _COMPRESSED:
        return _inflate(raw, options)
    term, end = decode(raw, 1, options)
    return term, raw[end:]


def _inflate(raw: bytes, options: DecodeOptions) -> tuple[Term, bytes]:
    if len(raw) < 6:
        raise DecodeError("truncated", len(raw), _COMPRESSED)
    claimed: int = _u32(raw, 2)[0]
    if claimed > options.max_size:
        raise DecodeError(f"{claimed} bytes when decompressed, limit {options.max_size}", 2, _COMPRESSED)
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(memoryview(raw)[6:], claimed + 1)
    except zlib.error as error:
        raise DecodeError(f"not zlib data ({error})", 6, _COMPRESSED) from None
    if len(plain) != claimed or not inflater.eof:
        raise DecodeError("decompressed size is not the claimed one", 2, _COMPRESSED)
    term, end = decode(plain, 0, options)
    if end != claimed:
        raise DecodeError("bytes left after the compressed term", end, _COMPRESSED)
    return term, inflater.unused_data


def decode(data: bytes, pos: int = 0, options: DecodeOptions = _DEFAULT) -> tuple[Term, int]:
    """The term without version byte at `pos`, and the position after it. Raises DecodeError."""
    size = len(data)
    if size > options.max_size:
        raise DecodeError(f"{size} bytes, limit {options.max_size}", pos)
    max_depth = options.max_depth
    atoms = _utf8_atoms
    stack: list[tuple[list[Term], int, _Build]] = []
    items: list[Term] = []
    append = items.append
    todo = 1
    build: _Build = tuple
    tag: int | None = None
    try:
        while True:
            while todo:
                todo -= 1
                tag = data[pos]
                if tag == 97:  # SMALL_INTEGER_EXT
                    append(data[pos + 1])
                    pos += 2
                elif tag == 119:  # SMALL_ATOM_UTF8_EXT
                    start = pos + 2
                    end = start + data[pos + 1]
                    try:
                        append(atoms[data[start:end]])
                    except KeyError:
                        append(_atom(data, start, end, "utf-8", atoms))
                    pos = end
                elif tag == 98:  # INTEGER_EXT
                    append(_i32(data, pos + 1)[0])
                    pos += 5
                elif tag == 109:  # BINARY_EXT
                    start = pos + 5
                    pos = start + _u32(data, pos + 1)[0]
                    append(data[start:pos])
                elif tag == 106:  # NIL_EXT
                    append([])
                    pos += 1
                elif tag == 107:  # STRING_EXT
                    start = pos + 3
                    pos = start + _u16(data, pos + 1)[0]
                    append(list(data[start:pos]))
                elif tag == 70:  # NEW_FLOAT_EXT
                    number = _f64(data, pos + 1)[0]
                    if number - number:  # infinite, or not a number
                        raise DecodeError("float is not finite", pos, tag)
                    append(number)
                    pos += 9
                elif tag in _CONTAINERS:
                    count, head, nested = _CONTAINERS[tag](data, pos)
                    if count > size - head:
                        raise DecodeError(f"{count} elements claimed, {max(size - head, 0)} bytes left", pos, tag)
                    if len(stack) >= max_depth:
                        raise DecodeError(f"nested deeper than {max_depth}", pos, tag)
                    pos = head
                    stack.append((items, todo, build))
                    items, todo, build = [], count, nested
                    append = items.append
                else:
                    leaf = _LEAVES.get(tag)
                    if leaf is None:
                        raise DecodeError(_UNKNOWN.get(tag, "unknown tag"), pos, tag)
                    value, pos = leaf(data, pos)
                    append(value)
            if not stack:
                break
            value = build(items)
            items, todo, build = stack.pop()
            append = items.append
            append(value)
    except (IndexError, struct.error):
        raise DecodeError("truncated", size, tag) from None
    if pos > size:
        raise DecodeError("truncated", size, tag)
    return items[0], pos


# --- containers: (children, position of the first, what makes them one value) -----------------------------------------

_Build = Callable[[list[Term]], Term]


def _small_tuple(data: bytes, pos: int) -> tuple[int, int, _Build]:
    return data[pos + 1], pos + 2, tuple


def _large_tuple(data: bytes, pos: int) -> tuple[int, int, _Build]:
    return _u32(data, pos + 1)[0], pos + 5, tuple


def _list(data: bytes, pos: int) -> tuple[int, int, _Build]:
    return _u32(data, pos + 1)[0] + 1, pos + 5, _build_list


def _build_list(items: list[Term]) -> Term:
    tail = items.pop()
    if not items:
        return tail
    if type(tail) is list:
        items += tail
        return items
    if type(tail) is ImproperList:
        return ImproperList((*items, *tail.elements), tail.tail)
    return ImproperList(tuple(items), tail)


def _map(data: bytes, pos: int) -> tuple[int, int, _Build]:
    return 2 * _u32(data, pos + 1)[0], pos + 5, _build_map


def _build_map(items: list[Term]) -> Term:
    keys, values = items[::2], items[1::2]
    try:
        built = dict(zip(keys, values, strict=True))
    except TypeError:  # a key that Python cannot hash
        built = {}
    if len(built) == len(keys):
        return built
    return PairMap(tuple(zip(keys, values, strict=True)))


def _new_fun(data: bytes, pos: int) -> tuple[int, int, _Build]:
    _size, arity, uniq, index, free = _fun_head(data, pos + 1)

    def build(items: list[Term]) -> Fun:
        module, old_index, old_uniq, pid = items[:4]
        typed = type(module) is Atom and type(old_index) is int and type(old_uniq) is int and type(pid) is Pid
        if not typed:
            raise DecodeError("malformed fun", pos, 112)
        return Fun(module, arity, uniq, index, old_index, old_uniq, pid, tuple(items[4:]))

    return 4 + free, pos + 30, build


_CONTAINERS: dict[int, Callable[[bytes, int], tuple[int, int, _Build]]] = {
    104: _small_tuple,
    105: _large_tuple,
    108: _list,
    112: _new_fun,
    116: _map,
}


# --- leaves: (value, position after it) -------------------------------------------------------------------------------


def _atom(
    data: bytes, start: int, end: int, encoding: str, cache: dict[bytes, Atom | bool | None]
) -> Atom | bool | None:
    raw = data[start:end]
    if len(raw) != end - start:
        raise IndexError
    if raw in cache:
        return cache[raw]
    try:
        text = str(raw, encoding)
    except UnicodeDecodeError:
        raise DecodeError("atom is not UTF-8", start) from None
    if len(text) > 255:
        raise DecodeError("atom longer than 255 characters", start)
    value = _WELL_KNOWN[text] if text in _WELL_KNOWN else Atom(text)
    if len(cache) < _ATOMS_MAX:
        cache[raw] = value
    return value


def _atom_utf8(data: bytes, pos: int) -> tuple[Atom | bool | None, int]:
    end = pos + 3 + _u16(data, pos + 1)[0]
    return _atom(data, pos + 3, end, "utf-8", _utf8_atoms), end


def _atom_latin1(data: bytes, pos: int) -> tuple[Atom | bool | None, int]:
    end = pos + 3 + _u16(data, pos + 1)[0]
    return _atom(data, pos + 3, end, "latin-1", _latin1_atoms), end


def _small_atom_utf8(data: bytes, pos: int) -> tuple[Atom | bool | None, int]:
    end = pos + 2 + data[pos + 1]
    return _atom(data, pos + 2, end, "utf-8", _utf8_atoms), end


def _small_atom_latin1(data: bytes, pos: int) -> tuple[Atom | bool | None, int]:
    end = pos + 2 + data[pos + 1]
    return _atom(data, pos + 2, end, "latin-1", _latin1_atoms), end


_ATOM_TAGS: dict[int, Callable[[bytes, int], tuple[Atom | bool | None, int]]] = {
    100: _atom_latin1,
    115: _small_atom_latin1,
    118: _atom_utf8,
    119: _small_atom_utf8,
}


def _atom_inside(data: bytes, pos: int) -> tuple[Atom, int]:
    """The atom inside a pid, port, reference or export: always a name, so ``true`` stays an Atom."""
    tag = data[pos]
    reader = _ATOM_TAGS.get(tag)
    if reader is None:
        raise DecodeError("an atom was expected", pos, tag)
    value, end = reader(data, pos)
    if type(value) is Atom:
        return value, end
    return Atom("undefined" if value is None else str(value).lower()), end


def _small_big(data: bytes, pos: int) -> tuple[int, int]:
    return _big(data, pos + 2, data[pos + 1])


def _large_big(data: bytes, pos: int) -> tuple[int, int]:
    return _big(data, pos + 5, _u32(data, pos + 1)[0])


def _big(data: bytes, pos: int, count: int) -> tuple[int, int]:
    sign = data[pos]
    if sign > 1:
        raise DecodeError("sign of an integer is neither 0 nor 1", pos)
    end = pos + 1 + count
    value = int.from_bytes(data[pos + 1 : end], "little")
    return (-value if sign else value), end


def _old_float(data: bytes, pos: int) -> tuple[float, int]:
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


def _bit_binary(data: bytes, pos: int) -> tuple[BitString | bytes, int]:
    count, bits = _u32(data, pos + 1)[0], data[pos + 5]
    end = pos + 6 + count
    if not 1 <= bits <= 8 or not count:
        raise DecodeError("malformed bit string", pos, 77)
    value = data[pos + 6 : end]
    return (value if bits == 8 else BitString(value, bits)), end


def _pid(data: bytes, pos: int) -> tuple[Pid, int]:
    node, at = _atom_inside(data, pos + 1)
    number, serial, creation = _id_serial_creation(data, at)
    return Pid(node, number, serial, creation), at + 12


def _old_pid(data: bytes, pos: int) -> tuple[Pid, int]:
    node, at = _atom_inside(data, pos + 1)
    return Pid(node, _u32(data, at)[0], _u32(data, at + 4)[0], data[at + 8]), at + 9


def _port(data: bytes, pos: int) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1)
    return Port(node, _u32(data, at)[0], _u32(data, at + 4)[0]), at + 8


def _old_port(data: bytes, pos: int) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1)
    return Port(node, _u32(data, at)[0], data[at + 4]), at + 5


def _v4_port(data: bytes, pos: int) -> tuple[Port, int]:
    node, at = _atom_inside(data, pos + 1)
    return Port(node, (_u32(data, at)[0] << 32) | _u32(data, at + 4)[0], _u32(data, at + 8)[0]), at + 12


def _reference(data: bytes, pos: int) -> tuple[Reference, int]:
    count = _u16(data, pos + 1)[0]
    node, at = _atom_inside(data, pos + 3)
    return Reference(node, _u32(data, at)[0], _words(data, pos, at + 4, count)), at + 4 + 4 * count


def _new_reference(data: bytes, pos: int) -> tuple[Reference, int]:
    count = _u16(data, pos + 1)[0]
    node, at = _atom_inside(data, pos + 3)
    return Reference(node, data[at], _words(data, pos, at + 1, count)), at + 1 + 4 * count


def _old_reference(data: bytes, pos: int) -> tuple[Reference, int]:
    node, at = _atom_inside(data, pos + 1)
    return Reference(node, data[at + 4], (_u32(data, at)[0],)), at + 5


def _words(data: bytes, pos: int, at: int, count: int) -> tuple[int, ...]:
    if not 1 <= count <= 5:
        raise DecodeError("a reference has 1 to 5 words", pos, data[pos])
    return struct.unpack_from(f">{count}I", data, at)


def _export(data: bytes, pos: int) -> tuple[Export, int]:
    module, at = _atom_inside(data, pos + 1)
    function, at = _atom_inside(data, at)
    if data[at] != 97:
        raise DecodeError("arity of an export is a small integer", at, data[at])
    return Export(module, function, data[at + 1]), at + 2


_LEAVES: dict[int, Callable[[bytes, int], tuple[Term, int]]] = {
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

_UNKNOWN = {
    121: "LOCAL_EXT can be read by the node that wrote it only",
    82: "atom cache reference outside a distribution header",
    117: "FUN_EXT is not written any more since OTP 23",
    80: "compressed term inside a term",
}
