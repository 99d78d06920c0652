"""Bare Erlang nodes for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from images import erlang_image
from nodes import StartErlang, erlang_nodes


@pytest.fixture(scope="module")
def start_erlang() -> Iterator[StartErlang]:
    """``start_erlang(otp, *more_arguments)``: nodes live until the module's tests are over."""
    with erlang_nodes(erlang_image) as start:
        yield start
