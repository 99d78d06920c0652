"""The operation ids in each node's own copy of a table, over ``harness_probe:copy/2``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError
from harness.etf import Atom, Term
from harness.faults.fault import on_each

if TYPE_CHECKING:
    from harness.cluster.node import Node

Ids: TypeAlias = npt.NDArray[np.uint64]  # sorted, each once

_BATCH = 10.0  # seconds for one batch of at most 50,000 ids


def read_copies(nodes: Mapping[str, Node], table: str, holders: Iterable[str]) -> dict[str, Ids]:
    """Node -> ids in its own copy. Raises HarnessError or DistError when one of them can't be read."""
    return on_each(holders, lambda name: _read(nodes[name], table))


def _read(node: Node, table: str) -> Ids:
    batches: list[Ids] = []
    more: Term = Atom("start")
    while True:
        batch, more = unpack(node.rpc("harness_probe", "copy", [Atom(table), more], timeout=_BATCH), node.name)
        batches.append(batch)
        if more == "done":
            return np.unique(np.concatenate(batches))


def unpack(answer: Term, node: str = "") -> tuple[Ids, Term]:
    """One answer of ``copy/2``: its ids and where to go on. Raises HarnessError when it is something else."""
    match answer:
        case (bytes(packed), more) if len(packed) % 8 == 0:
            return np.frombuffer(packed, dtype=">u8").astype(np.uint64), more
    raise HarnessError("read copy", f"harness_probe:copy answered {str(answer)[:80]!r}", node=node)


def missing(earlier: Ids, later: Ids) -> Ids:
    """What was there and is no more."""
    return np.setdiff1d(earlier, later)
