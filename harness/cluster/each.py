"""The same thing on several nodes at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def on_each(names: Iterable[str], act: Callable[[str], T]) -> dict[str, T]:
    """``act(name)`` for all at the same moment; all are finished before the first error is raised."""
    names = tuple(names)
    if not names:
        return {}
    with ThreadPoolExecutor(len(names), thread_name_prefix="each") as pool:
        futures = {name: pool.submit(act, name) for name in names}
    return {name: future.result() for name, future in futures.items()}
