"""The terms without terms inside, written: each writer takes the value and gives its bytes, without version byte."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from harness.errors import EncodeError, shown
from harness.etf.terms import Atom, BitString, Export, Pid, Port, Reference, Term

_u16 = struct.Struct(">BH").pack
_u32 = struct.Struct(">BI").pack
_i32 = struct.Struct(">Bi").pack
_f64 = struct.Struct(">Bd").pack

# What a field of the wrong type, or out of range, makes of the packing.
FIELD_ERRORS = (struct.error, ValueError, OverflowError, TypeError, AttributeError)

Writer = Callable[[Term], bytes]

_ATOMS_MAX = 16_384
_atoms: dict[str, bytes] = {}


def encode_atom(name: str) -> bytes:
    """The atom `name`, without version byte."""
    if type(name) is not Atom and type(name) is not str:
        name = str.__str__(name)
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
        _atoms["".join(name)] = made  # a plain str: it is what the errors show
    return made


def _old_atom(name: str) -> bytes:
    """As up to OTP 25: in Latin-1, where it fits."""
    made = encode_atom(name)
    try:
        raw = str.encode(name, "latin-1")
    except UnicodeEncodeError:
        return made
    return _u16(100, len(raw)) + raw


_SMALL = [bytes((97, value)) for value in range(256)]


def integer(value: int) -> bytes:
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


def _old_float(value: float) -> bytes:
    _float(value)
    return b"c" + b"%.20e" % value + bytes(31 - len(b"%.20e" % value))


def _binary(value: bytes | bytearray | memoryview) -> bytes:
    try:
        raw = bytes(value)
    except ValueError as error:  # released
        raise EncodeError("encode", f"no bytes of a memoryview: {error}") from None
    return _u32(109, len(raw)) + raw


def text_binary(value: str) -> bytes:
    """The text as a UTF-8 binary."""
    return _binary(_utf8(value))


def text_list(value: str) -> bytes:
    """The text as an Erlang string: a list of code points."""
    if value.isascii() or max(value) < "\u0100":
        return _byte_list(value.encode("latin-1"))
    _utf8(value)  # Erlang has no lone surrogates either
    return _u32(108, len(value)) + b"".join(map(integer, map(ord, value))) + b"j"


def text_utf8(value: str) -> bytes:
    """As pyrlang-term has it: the bytes of UTF-8 as a list, where no character is outside Latin-1."""
    return _byte_list(_utf8(value)) if value.isascii() or max(value) < "\u0100" else text_list(value)


def _byte_list(raw: bytes) -> bytes:
    if not raw:
        return b"j"
    if len(raw) < 65536:
        return _u16(107, len(raw)) + raw
    return _u32(108, len(raw)) + b"".join(map(_SMALL.__getitem__, raw)) + b"j"


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise EncodeError("encode", "text with lone surrogates is no Unicode text", "send bytes") from None


def _bit_string(value: BitString) -> bytes:
    if value.last_bits == 8:
        return _binary(value.data)
    if not 1 <= value.last_bits <= 7 or not value.data:
        raise ValueError("1 to 7 bits of the last byte count")
    return _u32(77, len(value.data)) + bytes((value.last_bits,)) + value.data


def _checked(pack: Callable[[Term], bytes]) -> Callable[[Term], bytes]:
    """Fields of hand-made pids and the like may be out of range."""

    def packed(value: Term) -> bytes:
        try:
            return pack(value)
        except FIELD_ERRORS as error:
            raise EncodeError("encode", f"field of {shown(value)} out of range ({error})") from None

    return packed


def _writers(
    atom: Callable[[str], bytes], port: Callable[[Port], bytes], number: Callable[[float], bytes]
) -> dict[type, Writer]:
    """By type; what has atoms inside writes them by `atom`."""
    true, false, undefined = map(atom, ("true", "false", "undefined"))

    def pid(value: Pid) -> bytes:
        return b"X" + atom(value.node) + struct.pack(">III", value.id, value.serial, value.creation)

    def reference(value: Reference) -> bytes:
        count = len(value.ids)
        if not 1 <= count <= 5:
            raise ValueError("a reference has 1 to 5 words")
        return _u16(90, count) + atom(value.node) + struct.pack(f">I{count}I", value.creation, *value.ids)

    def export(value: Export) -> bytes:
        return b"q" + atom(value.module) + atom(value.function) + bytes((97, value.arity))

    return {
        int: integer,
        Atom: atom,
        bytes: _binary,
        bool: lambda value: true if value else false,
        type(None): lambda _: undefined,
        float: number,
        bytearray: _binary,
        memoryview: _binary,
        Pid: _checked(pid),
        Port: _checked(port),
        Reference: _checked(reference),
        Export: _checked(export),
        BitString: _checked(_bit_string),
    }


def _port(value: Port) -> bytes:
    return b"x" + encode_atom(value.node) + struct.pack(">QI", value.id, value.creation)


def _old_port(value: Port) -> bytes:
    short = value.id < 1 << 28
    return (
        b"xY"[short : short + 1]
        + _old_atom(value.node)
        + struct.pack(">II" if short else ">QI", value.id, value.creation)
    )


WRITERS: dict[int, dict[type, Writer]] = {  # by minor_version
    0: _writers(_old_atom, _old_port, _old_float),
    1: _writers(_old_atom, _old_port, _float),
    2: _writers(encode_atom, _port, _float),
}
