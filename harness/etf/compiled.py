"""Whether there is a compiled module to use, built from the very sources beside it."""

from __future__ import annotations

import os
import warnings
import zlib
from importlib import import_module
from pathlib import Path

_STALE = (
    "harness: compiled modules of other sources are not used, and all is slower; "
    "run pip install --editable . to have them built anew"
)


def digest(folder: Path) -> int:
    """Of the sources of `_speed` in `folder`, which the build leaves in the module; 0: they are not there."""
    value = 0
    for path in sorted(folder.glob("_speed*")):
        if path.suffix in (".pyx", ".pxi"):
            value = zlib.crc32(path.read_bytes(), value)
    return value


def usable(package: str) -> bool:
    """Whether the `_speed` of `package` is there and fits: one of other sources (a copy from elsewhere, a clone that
    is newer) would fail later, who knows where. A wheel has no sources that could be newer.
    """
    if os.environ.get("HARNESS_PURE"):
        return False
    try:
        module = import_module(f"{package}._speed")
    except ImportError:  # not built here, or built for older sources
        return False
    if digest(Path(str(module.__file__)).parent) in (0, getattr(module, "SOURCES", None)):
        return True
    warnings.warn(_STALE, RuntimeWarning, 1)
    return False
