"""External Term Format -> Python (ERTS User's Guide, chapter External Term Format).

One loop with a stack of its own: no input can exhaust Python's, and the common terms cost no function call. A claimed
length reserves nothing; each element of a container takes a byte at least, so a claim beyond the input is refused
before anything is built.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import DecodeError
from harness.etf.leaves import LEAVES, UNSUPPORTED, UTF8_ATOMS, read_atom
from harness.etf.terms import Atom, Fun, ImproperList, PairMap, Pid, Term

VERSION = 131
_COMPRESSED = 80

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_i32 = struct.Struct(">i").unpack_from
_f64 = struct.Struct(">d").unpack_from
_fun_head = struct.Struct(">IB16sII").unpack_from


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
    atoms = UTF8_ATOMS
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
                        append(read_atom(data, start, end, "utf-8", atoms))
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
                    leaf = LEAVES.get(tag)
                    if leaf is None:
                        raise DecodeError(UNSUPPORTED.get(tag, "unknown tag"), pos, tag)
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
