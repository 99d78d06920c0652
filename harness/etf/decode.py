"""External Term Format -> Python (ERTS User's Guide, chapter External Term Format).

One loop with a stack of its own: no input can exhaust Python's, and the common terms cost no function call. A claimed
length reserves nothing; each element of a container takes a byte at least, so a claim beyond the input is refused
before anything is built.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from harness.errors import DecodeError
from harness.etf.leaves import LEAVES, UNSUPPORTED, UTF8_ATOMS, Cache, atom_name, read_atom
from harness.etf.looks import BYTE_STRINGS, reshaped
from harness.etf.options import DEFAULT, DecodeOptions
from harness.etf.terms import Fun, PairMap, Pid, Term, distinct, list_of, map_of

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_i32 = struct.Struct(">i").unpack_from
_f64 = struct.Struct(">d").unpack_from
_fun_head = struct.Struct(">IB16sII").unpack_from


def decode(data: bytes, pos: int = 0, options: DecodeOptions = DEFAULT, cache: Cache = None) -> tuple[Term, int]:
    """The term without version byte at `pos`, and the position after it.

    `cache`: the atoms that ATOM_CACHE_REF stands for, of the distribution header that the term came with. Raises
    DecodeError, and nothing else whatever the bytes are.
    """
    size = len(data)
    if size - pos > options.max_size:
        raise DecodeError(f"{size - pos} bytes, limit {options.max_size}: see max_size", pos)
    max_depth = options.max_depth
    room = options.containers
    byte_string = BYTE_STRINGS[options.byte_string]
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
                    room -= 1
                    if room < 0:
                        raise _crowded(options, pos, tag)
                elif tag == 107:  # STRING_EXT
                    start = pos + 3
                    pos = start + _u16(data, pos + 1)[0]
                    append(byte_string(data[start:pos]))
                    room -= 1
                    if room < 0:
                        raise _crowded(options, pos, tag)
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
                    room -= 1
                    if room < 0:
                        raise _crowded(options, pos, tag)
                    if tag == 108 and not todo and build is _build_list:  # a tail: the same list goes on
                        pos, todo = head, count
                        continue
                    if len(stack) >= max_depth:
                        raise DecodeError(f"nested deeper than {max_depth}: see max_depth", pos, tag)
                    pos = head
                    stack.append((items, todo, build))
                    items, todo, build = [], count, nested
                    append = items.append
                else:
                    leaf = LEAVES.get(tag)
                    if leaf is None:
                        raise DecodeError(UNSUPPORTED.get(tag, "unknown tag"), pos, tag)
                    if tag == 111 and _u32(data, pos + 1)[0] > options.max_integer:
                        raise DecodeError(
                            f"integer of more than {options.max_integer} bytes: see max_integer", pos, tag
                        )
                    value, pos = leaf(data, pos, cache)
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
    return (items[0] if options.plain else reshaped(items[0], options)), pos


def _crowded(options: DecodeOptions, pos: int, tag: int) -> DecodeError:
    return DecodeError(f"more than {options.containers} lists, tuples and maps: see max_containers", pos, tag)


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
    return list_of(items, tail)


def _map(data: bytes, pos: int) -> tuple[int, int, _Build]:
    return 2 * _u32(data, pos + 1)[0], pos + 5, lambda items: build_map(items[::2], items[1::2], pos)


def build_map(keys: list[Term], values: list[Term], pos: int) -> dict[Term, Term] | PairMap:
    """The map whose tag is at `pos`. Raises DecodeError where two of the keys are one to Erlang."""
    built = map_of(keys, values)
    if type(built) is PairMap and not distinct(keys):
        raise DecodeError("a key comes twice in a map", pos, 116)
    return built


def _new_fun(data: bytes, pos: int) -> tuple[int, int, _Build]:
    _size, arity, uniq, index, free = _fun_head(data, pos + 1)

    def build(items: list[Term]) -> Fun:
        module, old_index, old_uniq, pid = items[:4]
        name = atom_name(module)
        if name is None or type(old_index) is not int or type(old_uniq) is not int or type(pid) is not Pid:
            raise DecodeError("malformed fun", pos, 112)
        return Fun(name, arity, uniq, index, old_index, old_uniq, pid, tuple(items[4:]))

    return 4 + free, pos + 30, build


_CONTAINERS: dict[int, Callable[[bytes, int], tuple[int, int, _Build]]] = {
    104: _small_tuple,
    105: _large_tuple,
    108: _list,
    112: _new_fun,
    116: _map,
}
