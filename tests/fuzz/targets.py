"""Every fuzz target: a function of any bytes that returns, or raises where something does not hold that must."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from . import protocol, terms

# A name is, up to its dot, that of a file in corpus/.
TARGETS: dict[str, Callable[[bytes], None]] = {
    "terms.pure": terms.pure,
    "terms.compiled": terms.compiled,
    "control": protocol.control,
    "header": protocol.header,
    "handshake": protocol.handshake,
    "epmd": protocol.epmd,
    "packets": protocol.packets,
}


def read_corpus(name: str) -> list[bytes]:
    """The inputs kept for the target `name`: one a line, in hexadecimal."""
    return [bytes.fromhex(line) for line in _corpus(name).read_text().splitlines()]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    """Shortest first."""
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    _corpus(name).write_text("".join(f"{data.hex()}\n" for data in ordered if data))


def _corpus(name: str) -> Path:
    return Path(__file__).with_name("corpus") / f"{name.partition('.')[0]}.txt"
