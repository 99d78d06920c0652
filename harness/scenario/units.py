"""Numbers with units, as people write them and as models hold them: seconds, per second, bytes.

In a scenario file a number without its unit is a mistake: validation context ``WRITTEN``. Code and ``plan.json`` give
plain numbers. The same context for serialisation writes the unit out again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo, WithJsonSchema

WRITTEN = {"written": True}

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


def duration(text: object) -> object:
    """``10s``, ``250ms``, ``1m30s`` -> seconds. A bare number has no unit and is refused (0 is 0 in any unit)."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError("a duration is written like 10s, 250ms or 2m")
    if isinstance(text, int | float):
        if text == 0:
            return 0.0
        raise ValueError(f"a duration needs a unit: {text}s?")
    parts = re.findall(_NUMBER + r"\s*(us|ms|min|s|m|h)", text)
    if not parts or re.sub(_NUMBER + r"\s*(us|ms|min|s|m|h)", "", text).strip():
        raise ValueError(f"{text!r} is no duration; write 10s, 250ms or 2m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def rate(text: object) -> object:
    """``400/s``, ``30/m`` -> per second."""
    match = re.fullmatch(_NUMBER + r"\s*/\s*(s|m|min|h)", str(text).strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no rate; write 400/s or 30/m")
    return float(match[1]) / _UNITS[match[2]]


def size(text: object) -> object:
    """``512MiB``, ``1kB``, ``100B`` -> bytes."""
    match = re.fullmatch(_NUMBER + r"\s*([KMG]i?B|B)", str(text).strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is no size; write 100B, 4KiB or 512MiB")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(unit: Callable[[object], object]) -> BeforeValidator:
    def read(value: object, info: ValidationInfo) -> object:
        written = bool(info.context and info.context.get("written"))
        return value if _is_number(value) and not written else unit(value)

    return BeforeValidator(read)


def _write(suffix: str) -> PlainSerializer:
    def write(value: Any, info: SerializationInfo) -> Any:
        if value is None or not (info.context and info.context.get("written")):
            return value
        return f"{Decimal(repr(value)).normalize():f}{suffix}"

    return PlainSerializer(write)


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a whole number")
    return value


def _digits(value: object) -> object:
    """``${OTP}`` is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 4 else value


def _environment_value(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


_UNIT = r"(us|ms|min|s|m|h)"
_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": rf"^\s*(\d+(\.\d+)?\s*{_UNIT}\s*)+$"}, {"const": 0}],
    "examples": ["10s", "250ms", "1m30s"],
}
_RATE_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\s*\d+(\.\d+)?\s*/\s*(s|m|min|h)\s*$",
    "examples": ["400/s", "30/m"],
}
_SIZE_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\s*\d+(\.\d+)?\s*([KkMmGg][Ii]?[Bb]|[Bb])\s*$",
    "examples": ["100B", "512MiB"],
}

Duration = Annotated[
    float,
    _read(duration),
    Field(ge=0, le=31_536_000, allow_inf_nan=False),
    _write("s"),
    WithJsonSchema(_DURATION_SCHEMA),
]
Rate = Annotated[float, _read(rate), Field(gt=0, le=10_000_000), _write("/s"), WithJsonSchema(_RATE_SCHEMA)]
Size = Annotated[int, _read(size), Field(ge=0, le=2**50), _write("B"), WithJsonSchema(_SIZE_SCHEMA)]
Whole = Annotated[int, BeforeValidator(_whole)]
Otp = Annotated[Literal[25, 26, 27, 28], BeforeValidator(_digits)]
EnvironmentValue = Annotated[
    str, BeforeValidator(_environment_value), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
