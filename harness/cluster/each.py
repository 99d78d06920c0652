"""The same thing on several nodes at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def on_each(names: Iterable[str], act: Callable[[str], T]) -> dict[str, T]:
    """``act(name)`` for all at the same moment; all are finished before the first error is raised."""
    names = tuple(names)
    if not names:
        return {}
    with ThreadPoolExecutor(len(names), thread_name_prefix="each") as pool:
        futures = {name: pool.submit(act, name) for name in names}
    return {name: future.result() for name, future in futures.items()}


def on_all(pool: ThreadPoolExecutor, act: Callable[[S], T], things: Iterable[S]) -> list[T]:
    """``act`` on all at the same moment; the first error is raised as soon as it is there, and others may go on."""
    futures: list[Future[T]] = [pool.submit(act, thing) for thing in things]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        if future.done() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]
