"""Python -> External Term Format, with the tags that a current node itself would choose."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from harness.errors import EncodeError, shown
from harness.etf.options import WIRE, EncodeOptions
from harness.etf.terms import Atom, Fun, ImproperList, PairMap, Pid, Port, Reference, Term, distinct
from harness.etf.writers import FIELD_ERRORS, WRITERS, Writer, encode_atom, integer, text_binary, text_list, text_utf8

__all__ = ["encode", "encode_atom"]

_u16 = struct.Struct(">BH").pack
_u32 = struct.Struct(">BI").pack

_MAX_DEPTH = 100_000  # a Python list can contain itself; an Erlang term cannot


def encode(term: Term, options: EncodeOptions = WIRE) -> bytes:
    """`term` without version byte: what goes inside another term. A str becomes a binary unless `options` say otherwise
    (they do in term_to_binary); True/False/None the atoms true/false/undefined.

    Raises EncodeError for what Erlang has no counterpart of, and what hooks and ``__etf__`` methods raise.
    """
    return encode_within(term, options, 0)


def encode_within(term: Term, options: EncodeOptions, depth: int) -> bytes:
    """`term` as part of another one, with `depth` containers around it."""
    try:
        return _encode(term, options, depth)
    except RecursionError:
        raise endless() from None


def endless() -> EncodeError:
    return EncodeError("encode", "too many calls within each other", "does a hook or __etf__ encode its own value?")


def _encode(term: Term, options: EncodeOptions, depth: int) -> bytes:
    job = _Job(options)
    leaves, openers, out = job.direct, job.openers, job.out
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
            head, children = (openers.get(kind) or job.other)(value, job)
            write(head)
            if children is not None:
                if len(stack) + depth >= _MAX_DEPTH:
                    raise EncodeError("encode", f"nested deeper than {_MAX_DEPTH}", "does the term contain itself?")
                stack.append(level)
                level = children
                break
        else:
            if not stack:
                return b"".join(out)
            level = stack.pop()


_Opened = tuple[bytes, Iterator[Term] | None]


class _Job:
    """One call of `encode`: its output, and what writes which type. ``leaves`` and ``containers`` are all there are,
    ``direct`` and ``openers`` those of types without a hook; ``other`` is for the rest.
    """

    def __init__(self, options: EncodeOptions) -> None:
        self.out: list[bytes] = []
        self.options = options
        self.leaves = self.direct = _LEAVES[options.minor_version, options.string]
        self.containers: Mapping[type, _Opener] = _CONTAINERS
        self.openers = self.containers
        self.other: _Opener = _other
        if not options.plain:
            self.hooks = options.hooks()
            self.other = _hooked
            if self.hooks:
                self.containers = _HOOKED_CONTAINERS
            self.direct = {kind: leaf for kind, leaf in self.leaves.items() if kind.__name__ not in self.hooks}
            self.openers = {kind: opener for kind, opener in self.containers.items() if kind.__name__ not in self.hooks}


_Opener = Callable[[Term, _Job], _Opened]


# --- containers: their head, and the children that follow it (None: the head was all). What a hook or an __etf__ does
# to a list or dict while that is written changes nothing: the children are those of the beginning.


class _End:
    """After the elements of a proper list: its tail, which no hook takes for a list of its own."""


_END = (_End(),)


def _tuple(value: tuple[Term, ...], _job: _Job) -> _Opened:
    count = len(value)
    return (bytes((104, count)) if count < 256 else _u32(105, count)), iter(value)


def _bytes_or_list(value: list[Term], job: _Job) -> _Opened:
    count = len(value)
    if count and count < 65536:
        first = value[0]
        if type(first) is int and 0 <= first <= 255 and set(map(type, value)) == {int}:
            try:
                return _u16(107, count) + bytes(value), None
            except ValueError:
                pass  # not all are bytes: an ordinary list
    return _list(value, job)


def _list(value: list[Term], _job: _Job) -> _Opened:
    return (_u32(108, len(value)), chain(tuple(value), _END)) if value else (b"j", None)


def _improper(value: ImproperList, _job: _Job) -> _Opened:
    if not value.elements:
        raise EncodeError("encode", "an improper list without elements")
    return _u32(108, len(value.elements)), chain(value.elements, (value.tail,))


# Keys of these types are different terms where Python finds them different; of the second ones, among themselves. Not
# so True and Atom("true"), a str and the binary it becomes, and what may have them inside.
_APART = frozenset((int, float, bytes, Atom))
_ALIKE = ({str}, {bool}, {Pid}, {Port}, {Reference})


def _map(value: dict[Term, Term], job: _Job) -> _Opened:
    kinds = set(map(type, value))
    if kinds <= _APART or kinds in _ALIKE:
        return _u32(116, dict.__len__(value)), chain.from_iterable(tuple(dict.items(value)))
    return _checked_map(value, job)


def _checked_map(value: dict[Term, Term], job: _Job) -> _Opened:
    pairs = tuple(dict.items(value))
    return _u32(116, len(pairs)), _distinct(pairs, job.out)


def _pair_map(value: PairMap, job: _Job) -> _Opened:
    if not distinct([key for key, _ in value.pairs]):
        raise twice()
    return _u32(116, len(value.pairs)), _distinct(value.pairs, job.out)


def twice() -> EncodeError:
    return EncodeError("encode", "a key comes twice in a map")


def _distinct(pairs: tuple[tuple[Term, Term], ...], out: list[bytes]) -> Iterator[Term]:
    """Keys and values by turns, while the bytes of the keys are compared."""
    seen = set()
    for key, value in pairs:
        at = len(out)
        yield key
        seen.add(b"".join(out[at:]))
        yield value
    if len(seen) < len(pairs):
        raise twice()


def _fun(value: Fun, job: _Job) -> _Opened:
    try:
        if len(value.uniq) != 16:
            raise ValueError("uniq has 16 bytes")
        free = tuple(value.free)
        names = job.leaves[Atom](value.module) + integer(value.old_index) + integer(value.old_uniq)
        names += job.leaves[Pid](value.pid)
        head = struct.pack(">B16sII", value.arity, value.uniq, value.index, len(free))
    except FIELD_ERRORS as error:
        raise EncodeError("encode", f"field of {shown(value)} out of range ({error})") from None
    out = job.out
    at = len(out)

    def children() -> Iterator[Term]:
        yield from free
        size = 4 + len(head) + len(names) + sum(map(len, out[at + 1 :]))  # known now only
        out[at] = b"p" + struct.pack(">I", size) + head + names

    return b"", children()


def _end(_value: _End) -> bytes:
    return b"j"


_LEAVES: dict[tuple[int, str], dict[type, Writer]] = {
    (version, name): {**writers, str: text, _End: _end}
    for name, text in (("binary", text_binary), ("list", text_list), ("utf8", text_utf8))
    for version, writers in WRITERS.items()
}
_CONTAINERS: dict[type, _Opener] = {
    tuple: _tuple,
    list: _bytes_or_list,
    dict: _map,
    ImproperList: _improper,
    PairMap: _pair_map,
    Fun: _fun,
}
# Hooks may want to see the bytes in a list, and may make one term of two keys.
_HOOKED_CONTAINERS: dict[type, _Opener] = {**_CONTAINERS, list: _list, dict: _checked_map}

# --- values of no type of ours ----------------------------------------------------------------------------------------

# A subclass (named tuple, enum, ordered dict) as its base: what the base has, whatever the subclass makes of it.
_WHOLE = slice(None)
_BASE_VALUE: dict[type, Callable[[Term], Term]] = {
    Atom: str.__str__,
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
    bytes: lambda value: bytes.__getitem__(value, _WHOLE),
    bytearray: lambda value: bytes(memoryview(value)),
    tuple: lambda value: tuple.__getitem__(value, _WHOLE),
    list: list.copy,
    dict: lambda value: dict(dict.items(value)),
}


_KNOWN = frozenset((str, *WRITERS[2]))


def _base(value: Term) -> type | None:
    return next((kind for kind in type(value).__mro__ if kind in _KNOWN or kind in _CONTAINERS), None)


def _other(value: Term, job: _Job) -> _Opened:
    """A subclass as its base, an object as what its ``__etf__`` method returns."""
    base = _base(value)
    if base is not None:
        plain = _BASE_VALUE.get(base)
        return _open(base, plain(value) if plain else value, job)
    own = None if isinstance(value, type) else getattr(value, "__etf__", None)
    if not callable(own):
        raise EncodeError("encode", f"no Erlang term for a {type(value).__name__}")
    return b"", iter((own(),))


def _open(kind: type, value: Term, job: _Job) -> _Opened:
    leaf = job.leaves.get(kind)
    return (leaf(value), None) if leaf else job.containers[kind](value, job)


def _hooked(value: Term, job: _Job) -> _Opened:
    """What has a hook of its own, once: what the hook returns is not given to it again. The rest as `_other`, with what
    the options say of the unknown.
    """
    hook = job.hooks.get(type(value).__name__)
    if hook is not None:
        value = hook(value)
        if type(value) in job.leaves or type(value) in job.containers:
            return _open(type(value), value, job)
    if _base(value) is not None:
        return _other(value, job)
    catch_all = job.hooks.get("catch_all")
    if catch_all is not None:
        return b"", iter((catch_all(value),))
    if job.options.objects and not hasattr(value, "__etf__") and hasattr(value, "__dict__"):
        return b"", iter((_fields(value),))
    return _other(value, job)


def _fields(value: object) -> Term:
    """``{ClassName, #{Field => Value}}`` of the public attributes."""
    public = ((name, held) for name, held in vars(value).items() if not name.startswith("_") and not callable(held))
    return type(value).__name__.encode(), {name.encode(): held for name, held in public}
