"""Erlang terms as scenarios write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.etf import Atom, PairMap, Pid, same_term
from harness.scenario.values import from_term, module_name, to_term


@pytest.mark.parametrize(
    ("written", "term"),
    [
        ("text", b"text"),
        ("Grüße", "Grüße".encode()),
        (":ok", Atom("ok")),
        (":Elixir.Shop.Orders", Atom("Elixir.Shop.Orders")),
        (":true", True),
        (":undefined", None),
        (":", b":"),
        (1, 1),
        (1.5, 1.5),
        (None, None),
        ([":a", [1]], [Atom("a"), [1]]),
        ({"$tuple": [":a", {"$tuple": []}]}, (Atom("a"), ())),
        ({"$charlist": "hé"}, [104, 233]),
        ({"$binary": ":x"}, b":x"),
        ({"$base64": "/w=="}, b"\xff"),
        ({"k": ":v"}, {b"k": Atom("v")}),
        ({":k": 1}, {Atom("k"): 1}),
        ({"$map": [[1, 2], [{"$tuple": [1]}, 3]]}, {1: 2, (1,): 3}),
        ({"$map": [[1, 2], [1.0, 3]]}, PairMap(((1, 2), (1.0, 3)))),
        ({"$map": [[[1], 2]]}, PairMap((([1], 2),))),
    ],
)
def test_terms(written: Any, term: Any) -> None:
    made = to_term(written)
    assert same_term(made, term)
    assert same_term(to_term(from_term(made)), term)


@pytest.mark.parametrize(
    "written", [{"$tuple": 3}, {"$nothing": 1}, {"$base64": "?"}, {"$map": [[1]]}, {"$map": [[1, 2], [1, 3]]}]
)
def test_what_is_no_term(written: Any) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        to_term(written)


def test_what_cannot_be_written_back_is_shown() -> None:
    assert from_term(Pid(Atom("n1@n1"), 1, 2, 3))["$term"].startswith("Pid(")
    deep: Any = 1 << 100_000
    assert from_term(deep) == {"$term": "<integer of 100001 bits>"}
    for _ in range(50_000):
        deep = [(deep,)]
    assert '"$term"' in json.dumps(from_term(deep))


@pytest.mark.parametrize(
    ("written", "module"),
    [
        ("lists", "lists"),
        (":lists", "lists"),
        ("Shop.Orders", "Elixir.Shop.Orders"),
        ("Shop", "Elixir.Shop"),
        ("Elixir.Shop", "Elixir.Shop"),
        ("Elixir", "Elixir"),
        (":Elixir.Shop", "Elixir.Shop"),
        ("odd.name", "odd.name"),
    ],
)
def test_modules(written: str, module: str) -> None:
    assert module_name(written) == module


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1.0), (1, True), (0, False), (b"ok", Atom("ok")), ((1,), [1]), ({1: 1}, {1: 1.0}), ([1], [1, 2])]
)
def test_terms_that_erlang_tells_apart(a: Any, b: Any) -> None:
    assert not same_term(a, b)
    assert not same_term(b, a)
