"""Scenario + seed -> Plan: everything a run will do, resolved and printable without Docker.

Models only hold values that survive a round trip through ``plan.json``; ``make_plan`` is pure, so the same scenario
and seed give the same plan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SerializeAsAny, SerializerFunctionWrapHandler, field_validator, model_serializer

from harness.scenario.actions import ACTIONS, Action
from harness.scenario.expectations import parse_expectation
from harness.scenario.model import Model, RpcCall
from harness.scenario.names import erlang_name, node_host, node_options, operation_names, table_copies
from harness.scenario.schema import (
    Cluster,
    Context,
    ExpectedRpc,
    Health,
    Kernel,
    Limit,
    Load,
    NodeOptions,
    OtpImage,
    Scenario,
    Storage,
    Until,
)
from harness.scenario.secrets import masked
from harness.scenario.timeline import Placed, place
from harness.scenario.values import module_name

_Call = TypeVar("_Call", RpcCall, Health)


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
    """All that a run does. Durations in seconds. As JSON it is masked: what it holds is for the run alone."""

    name: str
    description: str
    seed: int
    source: str = Field(default="", description="path of the scenario file")
    nodes: tuple[PlannedNode, ...]
    kernel: Kernel
    tls: bool = False
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
    secrets: frozenset[str] = Field(default=frozenset(), exclude=True, repr=False)

    @model_serializer(mode="wrap", when_used="json")
    def _masked(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept: dict[str, Any] = masked(dump(self), self.secrets)
        return kept

    def node(self, name: str) -> PlannedNode:
        """The node of this scenario name. Raises KeyError."""
        return {node.name: node for node in self.nodes}[name]

    def table(self, name: str) -> PlannedTable:
        """The table of this name. Raises KeyError."""
        return {table.name: table for table in self.tables}[name]


# --- made from a scenario -----------------------------------------------------------------------------------------


def make_plan(scenario: Scenario, source: str | Path = "", seed: int | None = None) -> Plan:
    """Resolve a scenario that ``load_scenario`` accepted. ``source``: path of its file; ``seed`` replaces its own."""
    seed = scenario.seed if seed is None else seed
    cluster = scenario.cluster
    nodes = tuple(_node(cluster, name, options) for name, options in node_options(cluster).items())
    names = tuple(node.name for node in nodes)
    expect = dict(scenario.expect)
    answers = expect.pop("rpc", ())
    return Plan(
        name=scenario.name,
        description=scenario.description,
        seed=seed,
        source=str(source),
        nodes=nodes,
        kernel=cluster.kernel,
        tls=cluster.tls,
        tables=_tables(cluster, names),
        observed_tables=cluster.mnesia.observe if cluster.mnesia else (),
        mnesia=cluster.mnesia is not None,
        health=_resolved(cluster.health) if cluster.health else None,
        ready_within=cluster.ready_within,
        setup=tuple(_resolved(call) for call in scenario.setup),
        load=_load(scenario.load, names),
        timeline=tuple(_step(step) for step in place(scenario.timeline, scenario.duration, seed)),
        duration=scenario.duration,
        quiesce=scenario.quiesce,
        expectations=tuple(
            Expectation(check=check, limit=parse_expectation(check, written), text=_as_written(written))
            for check, written in expect.items()
        ),
        expected_answers=tuple(_answer(ExpectedRpc.model_validate(answer)) for answer in answers),
        expect_failure=scenario.expect_failure,
        secrets=scenario.secrets,
    )


def _node(cluster: Cluster, name: str, options: NodeOptions) -> PlannedNode:
    image = options.image if options.image is not None else cluster.image
    ours = isinstance(image, OtpImage)
    return PlannedNode(
        name=name,
        node_name=erlang_name(cluster, name),
        host=node_host(cluster, name),
        image="" if isinstance(image, OtpImage) else image,
        otp=image.otp if isinstance(image, OtpImage) else None,
        base=image.base if isinstance(image, OtpImage) else "",
        command=None if ours and cluster.command is None else cluster.command,
        environment={**cluster.environment, **options.environment},
        volumes=cluster.volumes,
        memory=options.memory if options.memory is not None else cluster.memory,
    )


def _tables(cluster: Cluster, names: tuple[str, ...]) -> tuple[PlannedTable, ...]:
    tables = cluster.mnesia.tables if cluster.mnesia else {}
    return tuple(
        PlannedTable(name=name, copies=table_copies(table, names), majority=table.majority)
        for name, table in tables.items()
    )


def _load(load: Load, names: tuple[str, ...]) -> PlannedLoad:
    operations = []
    for operation, name in zip(load.operations, operation_names(load), strict=True):
        on_table = operation.write or operation.read or operation.update
        kinds: tuple[Literal["rpc", "write", "read", "update"], ...] = ("rpc", "write", "read", "update")
        operations.append(
            PlannedOperation(
                name=name,
                kind=next(kind for kind in kinds if getattr(operation, kind) is not None),
                weight=operation.weight,
                on=operation.on or names,
                table=on_table.table if on_table else "",
                context=on_table.context if on_table else "",
                keys=operation.update.keys if operation.update else 0,
                call=_resolved(operation.rpc) if operation.rpc else None,
            )
        )
    return PlannedLoad(
        workers=load.workers,
        users=load.users,
        rate=load.rate,
        operations=tuple(operations),
        locustfile=load.locustfile,
        timeout=load.timeout,
        value_size=load.value_size,
        max_rows=load.max_rows,
        ramp=load.ramp,
    )


def _resolved(call: _Call) -> _Call:
    return call.model_copy(update={"module": module_name(call.module)})


def _step(placed: Placed) -> PlannedStep:
    action = placed.action
    if isinstance(action, RpcCall):
        action = action.model_copy(update={"module": module_name(action.module)})
    return PlannedStep(
        id=placed.id,
        name=placed.name,
        kind=placed.kind,
        action=action,
        at=placed.at,
        after=placed.after,
        delay=placed.delay,
        lasts=placed.lasts,
        until=placed.until,
    )


def _answer(expected: ExpectedRpc) -> ExpectedAnswer:
    call = RpcCall(
        module=module_name(expected.module),
        function=expected.function,
        args=expected.args,
        timeout=expected.timeout,
    )
    return ExpectedAnswer(call=call, returns=expected.returns, on=expected.on)


def _as_written(written: Any) -> str:
    if isinstance(written, dict):
        return "{" + ", ".join(f"{key}: {_as_written(value)}" for key, value in written.items()) + "}"
    return str(written).lower() if isinstance(written, bool) else str(written)
