"""File systems of a given size, to fill them up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SmallDisk = Callable[[str], Path]


@contextlib.contextmanager
def small_disks(folder: Path) -> Iterator[SmallDisk]:
    """``small_disk("512k")``: an empty file system, until the context ends; skips where none may be made."""
    mounted: list[Path] = []

    def small_disk(size: str) -> Path:
        place = folder / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"no file system of a given size here: {error}")
        if done.returncode:
            pytest.skip(f"no file system of a given size here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    try:
        yield small_disk
    finally:
        for place in mounted:
            subprocess.run(["umount", "-l", place], check=True)
