"""Scenario + seed -> Plan: everything a run will do, resolved and printable without Docker.

Models only hold values that survive a round trip through ``plan.json``; ``make_plan`` is pure, so the same scenario
and seed give the same plan.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from harness.scenario.schema import (
    ACTIONS,
    Action,
    Context,
    Health,
    Kernel,
    Limit,
    Model,
    RpcCall,
    Storage,
    Until,
)


class PlannedNode(Model):
    """One node: ``name`` as in the scenario, ``node_name`` as Erlang knows it."""

    name: str
    node_name: str
    host: str
    image: str = Field(description="image reference, empty for our example node on ``otp``")
    otp: int | None
    base: str = ""
    command: tuple[str, ...] | str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    memory: int


class PlannedTable(Model):
    """``copies``: scenario node name -> storage type."""

    name: str
    copies: dict[str, Storage]
    majority: bool = False


class PlannedOperation(Model):
    """``name`` is unique in the plan; ``on`` holds scenario node names, never empty."""

    name: str
    kind: Literal["rpc", "write", "read", "update"]
    weight: int
    on: tuple[str, ...]
    table: str = ""
    context: Context | Literal[""] = ""
    keys: int = 0
    call: RpcCall | None = None


class PlannedLoad(Model):
    workers: int
    users: int
    rate: float | None
    operations: tuple[PlannedOperation, ...]
    locustfile: str | None
    timeout: float
    value_size: int
    max_rows: int
    ramp: float


class PlannedStep(Model):
    """One action with its times, seconds from full load.

    Exactly one of ``at`` (absolute) and ``after`` (id of the step whose end starts this one, plus ``delay``).
    ``lasts`` None and ``until`` None: until load ends (a lasting action) or at once.
    """

    id: str
    name: str
    kind: str
    action: SerializeAsAny[Action]
    at: float | None = None
    after: str | None = None
    delay: float = 0.0
    lasts: float | None = None
    until: Until | None = None

    @field_validator("action", mode="before")
    @classmethod
    def _tagged(cls, value: Any, info: Any) -> Any:
        if isinstance(value, dict):
            return ACTIONS[info.data["kind"]].model_validate(value)
        return value


class Expectation(Model):
    """A limit for one check; ``text`` is how the author wrote it."""

    check: str
    limit: Limit
    text: str = ""


class ExpectedAnswer(Model):
    call: RpcCall
    returns: Any
    on: Literal["all", "any"] | tuple[str, ...]


class Plan(Model):
    """All that a run does. Durations in seconds."""

    name: str
    description: str
    seed: int
    source: str = Field(default="", description="path of the scenario file")
    nodes: tuple[PlannedNode, ...]
    kernel: Kernel
    tables: tuple[PlannedTable, ...]
    observed_tables: tuple[str, ...] = ()
    mnesia: bool
    health: Health | None = None
    ready_within: float = 60.0
    setup: tuple[RpcCall, ...]
    load: PlannedLoad
    timeline: tuple[PlannedStep, ...]
    duration: float
    quiesce: float
    expectations: tuple[Expectation, ...]
    expected_answers: tuple[ExpectedAnswer, ...] = ()
    expect_failure: tuple[str, ...] = ()

    def node(self, name: str) -> PlannedNode:
        """The node of this scenario name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def table(self, name: str) -> PlannedTable:
        """The table of this name. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)
