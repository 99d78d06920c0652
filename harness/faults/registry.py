"""Faults by the name of their action. A new one is a file in this room and a line here: docs/faults.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.faults.kill import Kill
from harness.faults.partition import Partition
from harness.faults.pause import Pause
from harness.faults.recover import Recover
from harness.faults.rpc import Rpc

if TYPE_CHECKING:
    from harness.faults.fault import Fault, Situation
    from harness.scenario.plan import PlannedStep

FAULTS: dict[str, Callable[[PlannedStep, Situation], Fault]] = {
    "partition": Partition,
    "kill": Kill,
    "pause": Pause,
    "recover": Recover,
    "rpc": Rpc,
}
