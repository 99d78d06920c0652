"""The examples of docs/etf.md are true, and its table of options is the options."""

from __future__ import annotations

import doctest
import re
from dataclasses import fields
from pathlib import Path

from harness.etf import DecodeOptions, EncodeOptions

PAGE = Path(__file__).parents[2] / "docs" / "etf.md"


def test_the_examples() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried >= 10
    assert not failed


def test_every_option_is_told() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert told >= {option.name for kind in (DecodeOptions, EncodeOptions) for option in fields(kind) if option.init}
