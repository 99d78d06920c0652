"""What a caller may choose: limits of what is read, and how terms look as Python values.

Either dataclass may be given as a plain dict of the same names instead; unknown names in it are ignored, as
pyrlang-term does, whose option names and meanings these are (docs/etf.md has the table).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

from harness.errors import TermError

ATOM_FORMS: Final = ("Atom", "StrictAtom", "str", "bytes")
BYTE_STRINGS: Final = ("int_list", "str", "bytes")
STRINGS: Final = ("list", "binary", "utf8")
MINOR_VERSIONS: Final = (0, 1, 2)
CONTAINERS: Final = 1 << 24
FREE_CONTAINERS: Final = 1 << 19  # ... and these two: what a compressed term may hold however short it is
FREE_INFLATED: Final = 1 << 23
MAX_DEPTH: Final = 10_000  # hash() and the like of nested tuples are recursion in C, some 100 bytes of stack each

Hook = Callable[[Any], Any]


class OptionError(TermError, ValueError):
    """An option that cannot be meant."""

    def __init__(self, name: str, expected: str, got: object) -> None:
        super().__init__(f"option {name}" if name else "options", f"expected {expected}, got {got!r}")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(name, f"one of {', '.join(allowed)}", value)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Limits for input from elsewhere, and the looks of some terms. Raises OptionError for what cannot be meant.

    ``max_depth``: nesting, at most 10,000. ``max_size``, ``max_inflated``: bytes of the encoded, of the decompressed
    term. ``max_ratio``: bytes of a decompressed term for each byte of the input, where they exceed `FREE_INFLATED`.
    ``max_integer``: bytes of one integer. ``max_containers``: lists (empty ones too), tuples, maps and funs in one
    term; what they cost Python is about 64 bytes each. Not given: `CONTAINERS`; in a compressed term as many as the
    input has bytes, at least `FREE_CONTAINERS`.

    ``byte_string``: STRING_EXT as list of integers, as str (Latin-1) or as bytes. ``atom``: class of the atoms other
    than true, false and undefined. ``atom_call``: made by this instead. ``decode_hook``: by type name, called with
    each value of that type, innermost first; what it returns takes the value's place.
    """

    max_depth: int = 512
    max_size: int = 1 << 28
    max_inflated: int = 1 << 28
    max_ratio: int = 16
    max_integer: int = 1 << 23
    max_containers: int | None = None
    byte_string: str = "int_list"
    atom: str = "Atom"
    atom_call: Hook | None = None
    decode_hook: Mapping[str, Hook] | None = None
    plain: bool = field(init=False, repr=False)  # only the limits differ from the default

    def __post_init__(self) -> None:
        _choice("atom", self.atom, ATOM_FORMS)
        _choice("byte_string", self.byte_string, BYTE_STRINGS)
        for limit in ("max_depth", "max_size", "max_inflated", "max_ratio", "max_integer", "max_containers"):
            value = getattr(self, limit)
            if value is None and limit == "max_containers":
                continue
            if type(value) is not int or value < 0:
                raise OptionError(limit, "an integer, 0 or more", value)
            object.__setattr__(self, limit, min(value, sys.maxsize))
        if self.max_depth > MAX_DEPTH:
            raise OptionError("max_depth", f"at most {MAX_DEPTH}", self.max_depth)
        if self.atom_call is not None and not callable(self.atom_call):
            raise OptionError("atom_call", "a function", self.atom_call)
        if not isinstance(self.decode_hook, Mapping | None):
            raise OptionError("decode_hook", "a dict of functions by type name", self.decode_hook)
        looks = (self.byte_string, self.atom, self.atom_call, self.decode_hook or None)
        object.__setattr__(self, "plain", looks == ("int_list", "Atom", None, None))

    @property
    def containers(self) -> int:
        return CONTAINERS if self.max_containers is None else self.max_containers


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """``compressed``: zlib level 1-9, True for 6, 0 for none; as in Erlang, used only where the result is no longer.

    ``minor_version``: that of a node's term_to_binary. 2: the forms of OTP 26 and later. 1: those of OTP 25, atoms in
    Latin-1 where they fit, and ports in 28 bits. 0: floats as text, too.

    ``string``: str as a list of code points (an Erlang string), as a UTF-8 binary, or (``utf8``, pyrlang-term's way) as
    a list of UTF-8 bytes where every character is in Latin-1, else of code points.

    ``encode_hook``: by type name, called with each value of exactly that type, before it is encoded; under
    ``catch_all`` (or a callable instead of a mapping) for values that have no Erlang counterpart. ``objects``: those
    become ``{ClassName, #{Field => Value}}`` of binaries, if nothing else takes them.
    """

    compressed: int = 0
    string: str = "list"
    encode_hook: Mapping[str, Hook] | Hook | None = None
    objects: bool = False
    minor_version: int = 2
    plain: bool = field(init=False, repr=False)  # neither hooks nor objects

    def __post_init__(self) -> None:
        _choice("string", self.string, STRINGS)
        if type(self.compressed) is bool:
            object.__setattr__(self, "compressed", 6 * self.compressed)  # zlib's own default, and a node's
        if type(self.compressed) is not int or not 0 <= self.compressed <= 9:
            raise OptionError("compressed", "0 to 9", self.compressed)
        if type(self.minor_version) is not int or self.minor_version not in MINOR_VERSIONS:
            raise OptionError("minor_version", "0, 1 or 2", self.minor_version)
        if not (callable(self.encode_hook) or isinstance(self.encode_hook, Mapping | None)):
            raise OptionError("encode_hook", "a dict of functions by type name, or a function", self.encode_hook)
        object.__setattr__(self, "plain", not self.encode_hook and not self.objects)

    def hooks(self) -> Mapping[str, Hook]:
        """By type name; a bare callable is the one for everything unknown."""
        if callable(self.encode_hook):
            return {"catch_all": self.encode_hook}
        return self.encode_hook or {}


DEFAULT: Final = DecodeOptions()
TO_BINARY: Final = EncodeOptions()
WIRE: Final = EncodeOptions(string="binary")  # what calls and messages to nodes carry

_Options = TypeVar("_Options", DecodeOptions, EncodeOptions)


def given(options: _Options | Mapping[str, Any] | None, default: _Options) -> _Options:
    """Options as the dataclass; names missing in a dict are as in `default`."""
    if options is None:
        return default
    if isinstance(options, type(default)):
        return options
    if not isinstance(options, Mapping):
        raise OptionError("", f"a dict or {type(default).__name__}", options)
    known = {known.name: getattr(default, known.name) for known in fields(default) if known.init}
    return type(default)(**{name: options.get(name, value) for name, value in known.items()})
