"""docs/distribution.md names every message and flag, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from harness import errors
from harness.dist.protocol.control import LAYOUTS
from harness.dist.protocol.flags import Flag

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "distribution.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[2]


def test_every_control_message() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", section("Control messages"), re.MULTILINE)
    assert sorted(int(opcode) for row in rows for opcode in row.split(", ")) == sorted(LAYOUTS)


def test_every_flag() -> None:
    rows = re.findall(r"^\| ([A-Z0-9_, ]+) \|", section("Distribution flags"), re.MULTILINE)
    assert sorted(name for row in rows for name in row.split(", ")) == sorted(flag.name for flag in Flag)


def test_every_error() -> None:
    rows = set(re.findall(r"^\| `(\w+)`", section("Errors"), re.MULTILINE))
    dist = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DistError)
    }
    assert rows == dist - {"DistError"} | {"EncodeError", "UsageError"}


def test_every_test_and_file_is_there() -> None:
    paths = list((ROOT / "tests").rglob("test_*.py"))
    files = {path.name for path in (*paths, *(ROOT / "harness").rglob("*.py"))}
    tests = "".join(path.read_text() for path in paths)
    for name in re.findall(r"`(?:tests/\w+/)?(\w+\.py)`", PAGE):
        assert name in files, name
    for name in re.findall(r"`(test_\w+)`", PAGE):
        assert f"def {name}(" in tests, name
