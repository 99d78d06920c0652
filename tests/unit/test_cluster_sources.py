"""What an image is tagged by, and what the engine is sent."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from harness.cluster.image import cache_dir
from harness.cluster.sources import build_context, digest, read_sources
from harness.errors import EnvironmentProblem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Dockerfile", "src/a.erl", "_build/x.beam", "test/t.erl", "a.beam"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "start").write_text("#!/bin/sh\n")
    return tmp_path


def test_only_what_is_built_from_counts(folder: Path) -> None:
    assert list(read_sources(folder)) == ["Dockerfile", "src/a.erl", "start"]


def test_a_folder_without_dockerfile_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="has no Dockerfile"):
        read_sources(tmp_path)


def test_the_hash_changes_with_every_part() -> None:
    base = digest({"a": b"1", "b": b"2"}, "27")
    others = [
        digest({"a": b"1", "b": b"3"}, "27"),
        digest({"a": b"1", "c": b"2"}, "27"),
        digest({"a": b"12", "b": b""}, "27"),
        digest({"a": b"1", "b": b"2"}, "25"),
        digest({"a": b"1", "b": b"2"}, "2", "7"),
    ]
    assert len({base, *others}) == 6
    assert digest({"a": b"1", "b": b"2"}, "27") == base
    assert len(base) == 12


def test_scripts_are_executable_in_the_context(folder: Path) -> None:
    with tarfile.open(fileobj=build_context(read_sources(folder))) as tar:
        modes = {member.name: member.mode for member in tar.getmembers()}
    assert modes == {"Dockerfile": 0o644, "src/a.erl": 0o644, "start": 0o755}


def test_the_cache_follows_xdg(tmp_path: Path) -> None:
    assert cache_dir({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "harness"
    assert (tmp_path / "harness").is_dir()
