"""Terms as a caller of `decode` wants to see them: other classes for atoms and byte strings, hooks for any type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Final

from harness.etf.options import DecodeOptions, Hook
from harness.etf.terms import Atom, Fun, ImproperList, PairMap, StrictAtom, Term, list_of, map_of


def _latin1(raw: bytes) -> str:
    return raw.decode("latin-1")


BYTE_STRINGS: Final[dict[str, Callable[[bytes], Term]]] = {"int_list": list, "str": _latin1, "bytes": bytes}

_ATOMS: Final[dict[str, Hook | None]] = {
    "Atom": None,
    "StrictAtom": StrictAtom,
    "str": lambda atom: "".join(atom),
    "bytes": lambda atom: atom.encode(),
}

_Parts = tuple[Iterator[Term], Callable[[list[Term]], Term]]  # the terms inside, and what makes a term of them again


def reshaped(term: Term, options: DecodeOptions) -> Term:
    """`term` with the atoms and hooks of `options`, from the innermost terms outwards."""
    make_atom = options.atom_call or _ATOMS[options.atom]
    hooks = options.decode_hook or {}

    def shown(value: Term) -> Term:
        if make_atom is not None and type(value) is Atom:
            value = make_atom(value)
        hook = hooks.get(type(value).__name__)
        return value if hook is None else hook(value)

    stack: list[tuple[Iterator[Term], list[Term], Callable[[list[Term]], Term]]] = []
    level: Iterator[Term] = iter((term,))
    done: list[Term] = []
    build: Callable[[list[Term]], Term] = tuple
    while True:
        for value in level:
            parts = _PARTS.get(type(value))
            if parts is None:
                done.append(shown(value))
                continue
            stack.append((level, done, build))
            level, build = parts(value)
            done = []
            break
        else:
            if not stack:
                return done[0]
            value = shown(build(done))
            level, done, build = stack.pop()
            done.append(value)


def _map(flat: list[Term]) -> Term:
    return map_of(flat[::2], flat[1::2])


def _improper(flat: list[Term]) -> Term:
    return list_of(flat[:-1], flat[-1])


def _fun(value: Fun, free: list[Term]) -> Term:
    return replace(value, free=tuple(free))


_PARTS: Final[dict[type, Callable[[Term], _Parts]]] = {
    tuple: lambda value: (iter(value), tuple),
    list: lambda value: (iter(value), list),
    dict: lambda value: (chain.from_iterable(value.items()), _map),
    PairMap: lambda value: (chain.from_iterable(value.items()), _map),
    ImproperList: lambda value: (chain(value.elements, (value.tail,)), _improper),
    Fun: lambda value: (iter(value.free), partial(_fun, value)),
}
