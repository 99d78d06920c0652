"""The probe's modules in a node that has nothing of ours: all of them or none, whatever was there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from nodes import ErlangNode, StartErlang, evaluate

from harness.cluster.engine import find_engine
from harness.cluster.modules import Modules, load_modules, probe_modules
from harness.data import data_path
from harness.errors import RemoteError
from harness.etf import Atom, Term

pytestmark = pytest.mark.docker

OLDER = """
-module(harness_probe).
-export([version/0, start/1, stop/0]).
version() -> <<"1">>.
start(#{}) -> true = register(harness_probe, spawn(fun run/0)), ok.
run() -> receive stop -> ok end.
stop() -> harness_probe ! stop, ok.
"""


@pytest.fixture(scope="module")
def modules() -> Modules:
    return probe_modules(find_engine(), print)


@pytest.fixture(scope="module", params=[25, 27])
def erlang(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    return start_erlang(request.param)


class Link:
    """A connection as `load_modules` wants a node, with patience."""

    def __init__(self, erlang: ErlangNode, local: str) -> None:
        self.name = erlang.host
        self._connection = erlang.connect(local=local)
        self.close = self._connection.close

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float = 60.0) -> Any:
        return self._connection.rpc(module, function, args, timeout)


def load(link: Link, modules: Modules) -> None:
    load_modules(link, modules, 60.0)  # type: ignore[arg-type]


@pytest.fixture
def link(erlang: ErlangNode, modules: Modules) -> Iterator[Link]:
    """To the node, which has forgotten what the test before left there."""
    made = Link(erlang, "test@harness")
    for name in modules:
        for act in ("purge", "delete", "purge"):
            made.rpc("code", act, [Atom(name)])
    yield made
    made.close()


def runs(link: Link) -> bool:
    """The probe's process is there, and every part answers."""
    assert link.rpc("harness_probe", "start", [{}]) == "ok"
    assert link.rpc("harness_probe", "views")["mnesia"] == "no"
    taken = link.rpc("harness_probe", "lag_take")
    return taken["dropped"] == 0 and link.rpc("harness_probe", "digest", [Atom("kv")])[1] == "no_copy"


def old_code(link: Link, modules: Modules) -> list[str]:
    return [name for name in modules if link.rpc("erlang", "check_old_code", [Atom(name)]) == Atom("true")]


def test_they_are_all_the_sources_say(modules: Modules) -> None:
    assert set(modules) == {path.stem for path in Path(data_path("erlang/node/src")).glob("harness_*.erl")}


def test_a_node_without_them_gets_them_all(link: Link, modules: Modules) -> None:
    with pytest.raises(RemoteError):
        link.rpc("harness_probe", "version")
    load(link, modules)
    assert set(link.rpc("harness_probe", "version")) == set(modules)
    assert runs(link)
    link.rpc("harness_probe", "stop")


def test_what_is_there_is_left_alone(link: Link, modules: Modules) -> None:
    load(link, modules)
    assert runs(link)
    process = link.rpc("erlang", "whereis", [Atom("harness_probe")])
    load(link, modules)
    assert link.rpc("erlang", "whereis", [Atom("harness_probe")]) == process
    assert old_code(link, modules) == []
    link.rpc("harness_probe", "stop")


def test_an_older_one_is_ended_and_replaced(link: Link, modules: Modules) -> None:
    """Though a still older one is there beside it: a node holds two versions of a module at most."""
    assert link.rpc("file", "write_file", ["/tmp/harness_probe.erl", OLDER.encode()]) == "ok"
    older = 'begin {ok, M, Code} = compile:file("/tmp/harness_probe.erl", [binary]), code:load_binary(M, "", Code) end.'
    for _ in range(2):
        evaluate(link.rpc, older)
    assert link.rpc("harness_probe", "start", [{}]) == "ok"
    process = link.rpc("erlang", "whereis", [Atom("harness_probe")])
    load(link, modules)
    assert runs(link)
    assert link.rpc("erlang", "whereis", [Atom("harness_probe")]) != process
    link.rpc("harness_probe", "stop")


def test_a_part_that_is_missing_is_noticed(link: Link, modules: Modules) -> None:
    load(link, modules)
    link.rpc("code", "delete", [Atom("harness_lag")])
    load(link, modules)
    assert runs(link)
    link.rpc("harness_probe", "stop")


def test_several_load_at_the_same_moment(erlang: ErlangNode, link: Link, modules: Modules) -> None:
    links = [Link(erlang, f"test{number}@harness") for number in range(4)]
    together = Barrier(len(links))

    def load_with_others(one: Link) -> None:
        together.wait(30)
        load(one, modules)

    with ThreadPoolExecutor(len(links)) as pool:
        for loaded in [pool.submit(load_with_others, one) for one in links]:
            loaded.result()
    for one in links:
        one.close()
    assert runs(link)
    link.rpc("harness_probe", "stop")
