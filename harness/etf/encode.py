"""Python -> External Term Format, with the tags that a current node itself would choose."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain

from harness.errors import EncodeError, shown
from harness.etf.options import WIRE, EncodeOptions, Hook
from harness.etf.terms import Atom, BitString, Export, Fun, ImproperList, PairMap, Pid, Port, Reference, Term
from harness.etf.writers import FIELD_ERRORS, WRITERS, encode_atom, integer, text_binary, text_list, text_utf8

__all__ = ["encode", "encode_atom"]

_u16 = struct.Struct(">BH").pack
_u32 = struct.Struct(">BI").pack

_MAX_DEPTH = 100_000  # a Python list can contain itself; an Erlang term cannot


def encode(term: Term, options: EncodeOptions = WIRE) -> bytes:
    """`term` without version byte: what goes inside another term. A str becomes a binary unless `options` say otherwise
    (they do in term_to_binary); True/False/None the atoms true/false/undefined.

    Raises EncodeError for what Erlang has no counterpart of.
    """
    leaves, containers, other = _LEAVES[options.string], _CONTAINERS, _other
    if not options.plain:
        hooks = options.hooks()
        other = partial(_hooked, hooks, options)
        leaves = {kind: leaf for kind, leaf in leaves.items() if kind.__name__ not in hooks}
        containers = {kind: opener for kind, opener in containers.items() if kind.__name__ not in hooks}
        if hooks and list in containers:
            containers[list] = _list
    out: list[bytes] = []
    write = out.append
    stack: list[Iterator[Term]] = []
    level: Iterator[Term] = iter((term,))
    while True:
        for value in level:
            kind = type(value)
            leaf = leaves.get(kind)
            if leaf is not None:
                write(leaf(value))
                continue
            head, children = (containers.get(kind) or other)(value, out, leaves)
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


# --- containers: their head, and the children that follow it (None: the head was all) -------------------------------

_Leaf = Callable[[Term], bytes]
_Leaves = Mapping[type, _Leaf]
_Opened = tuple[bytes, Iterator[Term] | None]
_Open = Callable[[Term, list[bytes], _Leaves], _Opened]


class _End:
    """After the elements of a proper list: its tail, which no hook takes for a list of its own."""


_END = (_End(),)


def _tuple(value: tuple[Term, ...], _out: list[bytes], _leaves: _Leaves) -> _Opened:
    count = len(value)
    return (bytes((104, count)) if count < 256 else _u32(105, count)), iter(value)


def _bytes_or_list(value: list[Term], out: list[bytes], leaves: _Leaves) -> _Opened:
    count = len(value)
    if count and count < 65536:
        first = value[0]
        if type(first) is int and 0 <= first <= 255 and set(map(type, value)) == {int}:
            try:
                return _u16(107, count) + bytes(value), None
            except ValueError:
                pass  # not all are bytes: an ordinary list
    return _list(value, out, leaves)


def _list(value: list[Term], _out: list[bytes], _leaves: _Leaves) -> _Opened:
    return (_u32(108, len(value)), chain(value, _END)) if value else (b"j", None)


def _improper(value: ImproperList, _out: list[bytes], _leaves: _Leaves) -> _Opened:
    if not value.elements:
        raise EncodeError("encode", "an improper list without elements")
    return _u32(108, len(value.elements)), chain(value.elements, (value.tail,))


def _map(value: dict[Term, Term] | PairMap, _out: list[bytes], _leaves: _Leaves) -> _Opened:
    return _u32(116, len(value)), chain.from_iterable(value.items())


def _fun(value: Fun, out: list[bytes], _leaves: _Leaves) -> _Opened:
    try:
        if len(value.uniq) != 16:
            raise ValueError("uniq has 16 bytes")
        names = encode_atom(value.module) + integer(value.old_index) + integer(value.old_uniq) + WRITERS[Pid](value.pid)
        head = struct.pack(">B16sII", value.arity, value.uniq, value.index, len(value.free))
    except FIELD_ERRORS as error:
        raise EncodeError("encode", f"field of {shown(value)} out of range ({error})") from None
    at = len(out)

    def children() -> Iterator[Term]:
        yield from value.free
        size = 4 + len(head) + len(names) + sum(map(len, out[at + 1 :]))  # known now only
        out[at] = b"p" + struct.pack(">I", size) + head + names

    return b"", children()


def _end(_value: _End) -> bytes:
    return b"j"


_LEAVES: dict[str, dict[type, _Leaf]] = {
    name: {**WRITERS, str: text, _End: _end}
    for name, text in (("binary", text_binary), ("list", text_list), ("utf8", text_utf8))
}
_CONTAINERS: dict[type, _Open] = {
    tuple: _tuple,
    list: _bytes_or_list,
    dict: _map,
    ImproperList: _improper,
    PairMap: _map,
    Fun: _fun,
}

# --- values of no type of ours ----------------------------------------------------------------------------------------

# For subclasses (named tuples, enums, ordered dicts): as their base. bool comes before int, Atom before str.
_BASES = (Atom, bool, int, float, str, bytes, tuple, list, dict, Pid, Port, Reference, Export, BitString, *_CONTAINERS)


def _other(value: Term, out: list[bytes], leaves: _Leaves) -> _Opened:
    """A subclass as its base, an object as what its ``__etf__`` method returns."""
    for base in _BASES:
        if isinstance(value, base):
            return _open(base, value, out, leaves)
    own = getattr(value, "__etf__", None)
    if own is None or isinstance(value, type):
        raise EncodeError("encode", f"no Erlang term for a {type(value).__name__}")
    return b"", iter((own(),))


def _open(kind: type, value: Term, out: list[bytes], leaves: _Leaves) -> _Opened:
    leaf = leaves.get(kind)
    return (leaf(value), None) if leaf else _CONTAINERS[kind](value, out, leaves)


def _hooked(
    hooks: Mapping[str, Hook], options: EncodeOptions, value: Term, out: list[bytes], _leaves: _Leaves
) -> _Opened:
    """What has a hook of its own, once: what the hook returns is not given to it again. The rest as `_other`, with what
    `options` say of the unknown.
    """
    leaves = _LEAVES[options.string]
    hook = hooks.get(type(value).__name__)
    if hook is not None:
        value = hook(value)
        if type(value) in leaves or type(value) in _CONTAINERS:
            return _list(value, out, leaves) if type(value) is list else _open(type(value), value, out, leaves)
    if isinstance(value, _BASES):
        return _other(value, out, leaves)
    catch_all = hooks.get("catch_all")
    if catch_all is not None:
        return b"", iter((catch_all(value),))
    if options.objects and not hasattr(value, "__etf__") and hasattr(value, "__dict__"):
        return b"", iter((_fields(value),))
    return _other(value, out, leaves)


def _fields(value: object) -> Term:
    """``{ClassName, #{Field => Value}}`` of the public attributes."""
    public = ((name, held) for name, held in vars(value).items() if not name.startswith("_") and not callable(held))
    return type(value).__name__.encode(), {name.encode(): held for name, held in public}
