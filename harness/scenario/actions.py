"""What a step of a timeline can do. A new fault is one subclass here, listed in ACTIONS, and one file in
harness/faults.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from harness.scenario.model import Model, RpcCall


class Action(Model):
    """What all of them have."""

    kind: ClassVar[str]
    lasting: ClassVar[bool] = True  # has a begin and an end (heal); others act once

    def nodes_named(self) -> tuple[str, ...]:
        """Every node the action names, for the check that they exist."""
        return ()


class Partition(Action):
    """Cut the groups from each other; a node in no group stays connected with everyone."""

    kind: ClassVar[str] = "partition"
    groups: tuple[tuple[str, ...], ...] = Field(min_length=2)

    def nodes_named(self) -> tuple[str, ...]:
        return tuple(node for group in self.groups for node in group)


class Kill(Action):
    """SIGKILL; started again when the step ends."""

    kind: ClassVar[str] = "kill"
    nodes: tuple[str, ...] = Field(min_length=1)

    def nodes_named(self) -> tuple[str, ...]:
        return self.nodes


class Pause(Action):
    """Freeze every process of the node (cgroup freezer); thawed when the step ends."""

    kind: ClassVar[str] = "pause"
    nodes: tuple[str, ...] = Field(min_length=1)

    def nodes_named(self) -> tuple[str, ...]:
        return self.nodes


class Recover(Action):
    """Merge what a cut left apart; the writes that this discards are listed."""

    kind: ClassVar[str] = "recover"
    lasting: ClassVar[bool] = False
    mnesia: Literal["restart_minority", "master_nodes"] = "restart_minority"
    masters: tuple[str, ...] = Field(default=(), description="for master_nodes: whose copy wins; default: majority")

    def nodes_named(self) -> tuple[str, ...]:
        return self.masters


class Rpc(Action, RpcCall):
    """Call a function on nodes: one's own recovery, or anything else."""

    kind: ClassVar[str] = "rpc"
    lasting: ClassVar[bool] = False
    on: Literal["all"] | tuple[str, ...] = "all"
    returns: Any = None

    def nodes_named(self) -> tuple[str, ...]:
        return () if self.on == "all" else tuple(self.on)


ACTIONS: dict[str, type[Action]] = {action.kind: action for action in (Partition, Kill, Pause, Recover, Rpc)}
