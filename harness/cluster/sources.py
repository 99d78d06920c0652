"""What an image is built from: its files, their hash, and the archive that the engine is sent."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import EnvironmentProblem

_LEAVE_OUT = ("_build", ".git", "logs", "test", "ebin")  # what building and testing leave, and what no image holds


def read_sources(folder: Path) -> dict[str, bytes]:
    """Every file that a build sees, by its path below ``folder``; what building and testing leave is left out."""
    found: dict[str, bytes] = {}
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEAVE_OUT)
        for name in files:
            path = Path(root) / name
            if path.suffix not in (".beam", ".dump", ".swp"):
                found[str(path.relative_to(folder))] = path.read_bytes()
    if "Dockerfile" not in found:
        raise EnvironmentProblem("build image", f"{folder} has no Dockerfile", "install the harness again")
    return dict(sorted(found.items()))


def digest(sources: Mapping[str, bytes], *ingredients: str) -> str:
    """12 hexadecimal digits that change with any name, content or ingredient."""
    hashed = hashlib.sha256()
    for part in (*ingredients, *sources):
        hashed.update(f"{len(part)}:{part}".encode())
    for content in sources.values():
        hashed.update(f"{len(content)}:".encode() + content)
    return hashed.hexdigest()[:12]


def build_context(sources: Mapping[str, bytes]) -> io.BytesIO:
    """A build context as tar. Start scripts are executable whatever the wheel made of their modes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sources.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed
