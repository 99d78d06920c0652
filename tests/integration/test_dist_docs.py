"""The examples of docs/distribution.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nodes import COOKIE, ErlangNode, StartErlang

from harness.dist.__main__ import main

pytestmark = pytest.mark.docker

PAGE = (Path(__file__).parents[2] / "docs" / "distribution.md").read_text()
GIVEN = '"shop@shop1", "192.0.2.7", "secret"'


@pytest.fixture(scope="module", params=[25, 27])
def node(request: pytest.FixtureRequest, start_erlang: StartErlang) -> ErlangNode:
    started: ErlangNode = start_erlang(request.param)
    return started


def test_blocks_of_python(node: ErlangNode) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    source = "\n".join(blocks)
    assert source.count(GIVEN) == 1
    namespace: dict[str, Any] = {}
    exec(source.replace(GIVEN, f"{node.name!r}, {node.address!r}, {COOKIE!r}"), namespace)
    namespace["connection"].close()


def test_the_tools(node: ErlangNode) -> None:
    shown = re.findall(
        r"^\$ python -m harness\.dist (\w+) shop@shop1 (.*)--host 192\.0\.2\.7\n(.*)$", PAGE, re.MULTILINE
    )
    assert [verb for verb, _, _ in shown] == ["ping", "call", "call"]
    for verb, arguments, answer in shown:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", arguments)]
        told = CliRunner().invoke(main, [verb, node.name, *words, "--host", node.address, "--cookie", COOKIE])
        assert told.exit_code == 0
        assert re.sub(r"[\d.]+ ms", "ms", told.stdout) == re.sub(r"[\d.]+ ms", "ms", answer) + "\n"
