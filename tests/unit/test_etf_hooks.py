"""Python code that runs while a term is written, and classes that say what is not so: right bytes, or an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from harness.etf import Atom, EncodeError, ImproperList, PairMap, StrictAtom, decode, encode, term_to_binary
from harness.etf.encode import encode as pure_encode

WAYS = pytest.mark.parametrize("write", [encode, pure_encode], ids=["chosen", "pure"])
Write = Callable[[Any], bytes]


class Speaking:
    """Written as what `says` returns; counts how often it was asked."""

    def __init__(self, says: Callable[[], Any]) -> None:
        self.says = says
        self.asked = 0

    def __etf__(self) -> Any:
        self.asked += 1
        return self.says()


@WAYS
@pytest.mark.parametrize("spoils", [object(), float("inf"), Atom("a" * 256), "\ud800", {Atom("true"): 1, True: 2}])
def test_an_object_is_asked_once_whatever_comes_after_it(write: Write, spoils: Any) -> None:
    speaking = Speaking(lambda: 1)
    with pytest.raises(EncodeError):
        write([[speaking], spoils])
    assert speaking.asked == 1
    deep: Any = [speaking, b""]
    for _ in range(2_000):
        deep = [deep]
    assert write(deep).endswith(b"a\1m\0\0\0\0" + b"j" * 2_001)
    assert speaking.asked == 2


@WAYS
def test_its_own_errors_pass(write: Write) -> None:
    def fail() -> Any:
        raise LookupError("mine")

    speaking = Speaking(fail)
    with pytest.raises(LookupError, match="mine"):
        write({1: [speaking]})
    assert speaking.asked == 1


@WAYS
def test_objects_that_encode_themselves_without_end_are_refused_soon(write: Write) -> None:
    """Were it called again after an error, every object would double the time of those inside."""
    endless = Speaking(lambda: write(endless))
    with pytest.raises(EncodeError, match="too many calls"):
        write([endless])
    assert endless.asked < 2_000
    inner: Any = object()
    for _ in range(40):
        inner = Speaking(partial(write, [inner]))
    with pytest.raises(EncodeError, match="no Erlang term for a object"):
        write(inner)


@WAYS
@pytest.mark.parametrize("wrap", [lambda own: own, lambda own: [own]])
def test_objects_that_are_written_as_themselves_are_refused(write: Write, wrap: Callable[[Any], Any]) -> None:
    again = Speaking(lambda: wrap(again))
    with pytest.raises(EncodeError, match="contain itself"):
        write(again)


@WAYS
@pytest.mark.parametrize(
    "change", [list.clear, list.pop, lambda value: value.append(9), lambda value: value.extend([9] * 99)]
)
def test_a_list_is_written_as_it_was_at_the_beginning(write: Write, change: Callable[[list[Any]], Any]) -> None:
    value: list[Any] = []
    value += [Speaking(lambda: (change(value), 7)[1]), 300, [3]]
    assert write(value) == pure_encode([7, 300, [3]])


@WAYS
@pytest.mark.parametrize(
    "change", [dict.clear, dict.popitem, lambda value: value.update({5: 5}), lambda value: value.update({2: 5})]
)
def test_a_map_is_written_as_it_was_at_the_beginning(write: Write, change: Callable[[dict[Any, Any]], Any]) -> None:
    value: dict[Any, Any] = {}
    value |= {1: Speaking(lambda: (change(value), 7)[1]), 2: [3], 3: 4}
    assert write(value) == pure_encode({1: 7, 2: [3], 3: 4})


def test_nor_do_hooks_change_what_is_being_written() -> None:
    value: list[Any] = [1.5, 2]
    assert term_to_binary(value, {"encode_hook": {"float": lambda _: value.clear()}})[1:] == encode([None, 2])


class LyingList(list[Any]):
    def __len__(self) -> int:
        return 300

    def __iter__(self) -> Any:
        return iter([1])


class LyingDict(dict[Any, Any]):
    def __len__(self) -> int:
        return 300

    def __iter__(self) -> Any:
        return iter([1])

    def items(self) -> Any:
        return [(1, 2)]

    keys = values = items


class LyingTuple(tuple[Any, ...]):
    __len__ = LyingList.__len__
    __iter__ = LyingList.__iter__


class LyingBytes(bytes):
    def __len__(self) -> int:
        return 300

    def __bytes__(self) -> bytes:
        return b"other"


class LyingInteger(int):
    def bit_length(self) -> int:
        return 3

    def __abs__(self) -> int:
        return 5


class LyingAtom(Atom):
    def encode(self, *_: Any) -> bytes:
        return b"x" * 70_000

    def __len__(self) -> int:
        return 1


class LyingText(str):
    def encode(self, *_: Any) -> Any:
        return "nothing"


@WAYS
@pytest.mark.parametrize(
    ("value", "same"),
    [
        (LyingList([1, 300]), [1, 300]),
        (LyingList([1, 2]), [1, 2]),
        (LyingDict({3: 4, 5: 6}), {3: 4, 5: 6}),
        (LyingTuple((1, 2)), (1, 2)),
        (LyingBytes(b"abc"), b"abc"),
        (LyingInteger(2**70), 2**70),
        (LyingAtom("hello"), Atom("hello")),
        (LyingText("hello"), "hello"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_subclass_is_written_as_what_it_is(write: Write, value: Any, same: Any) -> None:
    assert write([value]) == pure_encode([same])


@WAYS
def test_a_released_memoryview_and_an_etf_that_is_no_method_are_no_terms(write: Write) -> None:
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(EncodeError, match="released"):
        write([released])
    speaking = Speaking(lambda: 1)
    speaking.__etf__ = 5  # type: ignore[assignment, method-assign]
    with pytest.raises(EncodeError, match="no Erlang term"):
        write(speaking)


@WAYS
@pytest.mark.parametrize(
    "value",
    [
        PairMap(((1, 2), (1, 3))),
        PairMap((([1], 2), ([1], 3))),
        PairMap((({1: 2, 3: 4}, 1), ({3: 4, 1: 2}, 2))),
        {Atom("true"): 1, True: 2},
        {(Atom("undefined"),): 1, (None,): 2},
        {"a": 1, b"a": 2},
        {StrictAtom("a"): 1, Atom("a"): 2},
    ],
    ids=repr,
)
def test_a_key_that_comes_twice_is_refused(write: Write, value: Any) -> None:
    with pytest.raises(EncodeError, match="twice"):
        write([value])


@WAYS
def test_keys_that_only_look_alike_are_not(write: Write) -> None:
    value = {b"a": 1, Atom("a"): 2, (1,): 3, True: 4, 0: 5}
    assert decode(write(value))[0] == value
    odd = PairMap(
        ((1, b"i"), (1.0, b"f"), (True, b"t"), (0.0, b"z"), (-0.0, b"n"), ([], b"l"), (ImproperList((1,), 2), b""))
    )
    assert decode(write(odd))[0] == odd
