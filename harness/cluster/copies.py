"""The operation ids in a node's own copy of a table, over ``harness_probe:copy/2``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError, shown
from harness.etf import Atom, Term

if TYPE_CHECKING:
    from harness.cluster.node import Node

Ids: TypeAlias = npt.NDArray[np.uint64]  # sorted, each once


def read_copy(node: Node, table: str, timeout: float) -> Ids:
    """All ids; `timeout` (seconds) is for one batch of at most 50,000. Raises HarnessError or DistError."""
    batches: list[Ids] = []
    more: Term = Atom("start")
    while True:
        batch, more = unpack(node.rpc("harness_probe", "copy", [Atom(table), more], timeout), node.name)
        batches.append(batch)
        if more == "done":
            return np.unique(np.concatenate(batches))


def unpack(answer: Term, node: str = "") -> tuple[Ids, Term]:
    """One answer of ``copy/2``: its ids and where to go on. Raises HarnessError when it is something else."""
    match answer:
        case (bytes(packed), more) if len(packed) % 8 == 0:
            return np.frombuffer(packed, dtype=">u8").astype(np.uint64), more
    raise HarnessError("read copy", f"cannot be read: {shown(answer):.80}", node=node)
