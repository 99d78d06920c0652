"""What the fuzzer has found so far, and a few thousand mutations of it: every fuzz target, a second each."""

from __future__ import annotations

import random

import pytest
from fuzz.targets import TARGETS, read_corpus

MUTATIONS = 3000


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    for data in read_corpus(name):
        held(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_it(name: str) -> None:
    """Always the same ones: what fails here fails again."""
    chance, known = random.Random(name), read_corpus(name)
    for _ in range(MUTATIONS):
        held(name, mutated(chance, known))


def held(name: str, data: bytes) -> None:
    try:
        TARGETS[name](data)
    except Exception as error:
        error.add_note(f"{name}: bytes.fromhex({data.hex()!r})")
        raise


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """One of `known` with up to three changes: a byte, a stretch lost or doubled, a claim, the end of another."""
    data = bytearray(chance.choice(known))
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(1, 8))
        match chance.randrange(6):
            case 0:
                data[at:end] = chance.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1", b"\x7f\xff\xff\xff"))
            case 4:
                del data[at:]
            case _:
                data[at:] = chance.choice(known)[at:]
    return bytes(data)
