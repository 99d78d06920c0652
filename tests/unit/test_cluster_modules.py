"""The probe's modules on their way into a node: what is asked of it, and what is said when it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import ScriptedNode

from harness.cluster.modules import load_modules
from harness.errors import EnvironmentProblem, RemoteError
from harness.etf import Atom, term_to_binary

MISSING = RemoteError("harness_probe:version", "error", Atom("undef"))


def code(vsn: int) -> bytes:
    """Object code as far as anybody looks here; a chunk is padded to four bytes."""
    attributes = term_to_binary([(Atom("behaviour"), [Atom("x")]), (Atom("vsn"), [vsn])])
    chunks = b"AtU8" + (5).to_bytes(4) + b"12345\0\0\0" + b"Attr" + len(attributes).to_bytes(4) + attributes
    return b"FOR1" + (4 + len(chunks)).to_bytes(4) + b"BEAM" + chunks


MODULES = {"harness_probe": code(1 << 100), "harness_lag": code(2 << 100)}
LOADED = {Atom("harness_probe"): [1 << 100], Atom("harness_lag"): [2 << 100]}


def node(*versions: Any) -> Any:
    """It answers these versions, one after the other, and the last one from then on."""
    told = list(versions)

    def version() -> Any:
        answer = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    answers = {
        "harness_probe:version": version,
        "harness_probe:stop": Atom("ok"),
        "code:purge": False,
        "code:atomic_load": (Atom("error"), [(Atom("harness_lag"), Atom("badfile"))]),
    }
    return ScriptedNode("n1", answers)


def asked(node: Any) -> list[str]:
    return [call.partition(":")[2] for call, _ in node.calls]


def test_nothing_is_sent_where_all_are_there() -> None:
    n1 = node(LOADED)
    load_modules(n1, MODULES)
    assert asked(n1) == ["version"]


@pytest.mark.parametrize("other", [b"1", {**LOADED, Atom("harness_lag"): [3 << 100]}, {**LOADED, Atom("x"): [1]}])
def test_another_version_is_ended_before_it_is_replaced(other: Any) -> None:
    n1 = node(other, LOADED)
    load_modules(n1, MODULES)
    assert asked(n1) == ["version", "stop", "purge", "purge", "atomic_load", "version"]
    ((sent,),) = [args for call, args in n1.calls if call == "code:atomic_load"]
    assert [(name, binary) for name, _, binary in sent] == list(MODULES.items())


def test_somebody_else_came_first() -> None:
    n1 = node(MISSING, MISSING, LOADED)
    load_modules(n1, MODULES)
    assert asked(n1).count("atomic_load") == 2


def test_a_node_that_refuses_them() -> None:
    n1 = node(MISSING)
    with pytest.raises(EnvironmentProblem, match=r"n1: load harness_probe: .*badfile.*OTP 25"):
        load_modules(n1, MODULES)
    assert "stop" not in asked(n1)
