"""A scenario as its author wrote it: frozen pydantic models with units already read.

Durations are seconds (float), rates are per second (float), sizes are bytes (int). Unknown keys are errors. How YAML
becomes these models, with positions for every mistake, is ``harness.scenario.load``; what a run does with them is
``harness.scenario.plan``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from harness.scenario.actions import ACTIONS, Action, Kill, Partition, Pause, Recover, Rpc
from harness.scenario.model import Model, RpcCall
from harness.scenario.units import Duration, EnvironmentValue, Otp, Rate, Size, Whole

Context = Literal["transaction", "sync_transaction", "async_dirty", "sync_dirty"]
Storage = Literal["ram_copies", "disc_copies", "disc_only_copies"]


# --- cluster ------------------------------------------------------------------------------------------------------


class OtpImage(Model):
    """Our example node, built from erlang/node on this OTP release, or on a base image of one's own."""

    otp: Otp = 27
    base: str = ""


class Health(Model):
    """How a foreign node says that it is ready: an RPC and what it returns."""

    module: str
    function: str
    args: tuple[Any, ...] = ()
    returns: Any = Field(default=True)


class NodeOptions(Model):
    """What one node has of its own; what is not given here comes from ``cluster``."""

    image: OtpImage | str | None = None
    environment: dict[str, EnvironmentValue] = Field(default_factory=dict)
    memory: Size | None = None


class Kernel(Model):
    """Kernel parameters of every node; they are read back after the start."""

    net_ticktime: Whole = Field(default=8, ge=1, description="seconds")
    net_tickintensity: Whole = Field(default=4, ge=4, le=1000)
    prevent_overlapping_partitions: bool = True
    net_setuptime: Whole | None = Field(default=None, ge=1, le=120, description="seconds")


class Table(Model):
    """A table the harness creates: where its copies live."""

    ram_copies: Literal["all"] | tuple[str, ...] = ()
    disc_copies: Literal["all"] | tuple[str, ...] = ()
    disc_only_copies: Literal["all"] | tuple[str, ...] = ()
    majority: bool = False


class Mnesia(Model):
    tables: dict[str, Table] = Field(default_factory=dict)
    observe: tuple[str, ...] = Field(default=(), description="a release's own tables: compared, never written")


class Cluster(Model):
    nodes: Whole | tuple[str, ...] | dict[str, NodeOptions] = 3
    image: OtpImage | str = OtpImage()
    cookie: SecretStr = SecretStr("")
    kernel: Kernel = Kernel()
    tls: bool = Field(default=False, description="distribution over TLS, with certificates made for this run")
    mnesia: Mnesia | None = None
    node_name: str = "{node}@{host}"
    domain: str = Field(default="", description="appended to every host name; with a dot the nodes use long names")
    command: tuple[str, ...] | str | None = None
    environment: dict[str, EnvironmentValue] = Field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    health: Health | None = None
    memory: Size = 512 * 1024**2
    ready_within: Duration = 60.0


# --- load ---------------------------------------------------------------------------------------------------------


class TableOperation(Model):
    table: str
    context: Context = "transaction"


class UpdateOperation(TableOperation):
    keys: Whole = Field(default=100, ge=1, le=1_000_000)


class Operation(Model):
    """One kind of request and how often it is picked. Exactly one of rpc, write, read, update."""

    rpc: RpcCall | None = None
    write: TableOperation | None = None
    read: TableOperation | None = None
    update: UpdateOperation | None = None
    weight: Whole = Field(default=1, ge=1)
    on: tuple[str, ...] = ()
    name: str = ""

    @model_validator(mode="after")
    def _exactly_one(self) -> Operation:
        _exactly_one_of(self, "an operation", ("rpc", "write", "read", "update"))
        return self


def _exactly_one_of(model: Model, what: str, kinds: tuple[str, ...]) -> None:
    held = [kind for kind in kinds if getattr(model, kind) is not None]
    if len(held) != 1:
        raise ValueError(f"{what} is exactly one of {', '.join(kinds)}; this one has {' and '.join(held) or 'none'}")


class Load(Model):
    workers: Whole = Field(default=1, ge=1, le=64)
    users: Whole = Field(default=10, ge=1, le=100_000)
    rate: Rate | None = None
    operations: tuple[Operation, ...] = ()
    locustfile: str | None = None
    timeout: Duration = Field(default=10.0, description="after which an operation without answer is unknown")
    value_size: Size = 100
    max_rows: Whole = Field(default=1_000_000, ge=1, description="rows inserted per table; then writes are dropped")
    ramp: Duration = 0.0

    @model_validator(mode="after")
    def _one_source(self) -> Load:
        if bool(self.operations) == bool(self.locustfile):
            raise ValueError("load needs either operations or a locustfile")
        return self


# --- timeline -----------------------------------------------------------------------------------------------------


class Until(Model):
    """End a step at an event instead of after a time: ``until: detected`` is short for ``{event: detected}``.

    ``detected``: every node the fault concerns has seen it; otherwise the name of an observation (nodedown,
    mnesia_down, ...), on ``node`` where given. ``timeout`` ends the step anyway.
    """

    event: str
    node: str = ""
    timeout: Duration = 120.0


class Step(Model):
    """Schedule keys and exactly one action (or ``sequence`` / ``parallel`` of steps).

    In YAML the action stands under its own name: ``{at: 10s, for: 20s, partition: {groups: [...]}}``.
    """

    name: str = ""
    at: Duration | None = None
    after: str | None = None
    for_: Duration | None = Field(default=None, alias="for")
    until: Until | None = None
    every: Duration | None = None
    times: Whole | None = Field(default=None, ge=1, le=10_000)
    spread: Duration = 0.0
    partition: Partition | None = None
    kill: Kill | None = None
    pause: Pause | None = None
    recover: Recover | None = None
    rpc: Rpc | None = None
    sequence: tuple[Step, ...] | None = None
    parallel: tuple[Step, ...] | None = None

    @property
    def action(self) -> Action | None:
        """The one action, None for a step that holds steps."""
        return next((a for kind in ACTIONS if (a := getattr(self, kind)) is not None), None)

    @model_validator(mode="before")
    @classmethod
    def _short_until(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("until"), str):
            return {**data, "until": {"event": data["until"]}}
        return data

    @model_validator(mode="after")
    def _exactly_one(self) -> Step:
        _exactly_one_of(self, "a step", (*ACTIONS, "sequence", "parallel"))
        return self


# --- expectations -------------------------------------------------------------------------------------------------


class Limit(Model):
    """Long form of an expectation. ``limit`` is an upper bound, ``min`` a lower one; seconds, ratios or counts."""

    limit: float | None = None
    min: float | None = None
    phase: str = ""
    severity: Literal["fail", "warn"] = "fail"
    off: bool = False


class ExpectedRpc(RpcCall):
    returns: Any = True
    on: Literal["all", "any"] | tuple[str, ...] = "all"


class Scenario(Model):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str = ""
    seed: Whole = 0
    cluster: Cluster
    setup: tuple[RpcCall, ...] = ()
    load: Load
    timeline: tuple[Step, ...] = ()
    duration: Duration
    quiesce: Duration = Field(default=30.0, description="how long the cluster may take to converge after load")
    expect: dict[str, Any] = Field(default_factory=dict)
    expect_failure: tuple[str, ...] = ()
    _from_variables: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def secrets(self) -> frozenset[str]:
        """Values that no artefact may show: the cookie, and those of variables whose names look secret."""
        return (self._from_variables | {self.cluster.cookie.get_secret_value()}) - {""}

    def holding(self, from_variables: frozenset[str]) -> Scenario:
        """This scenario, knowing which values of variables are secret."""
        made = self.model_copy()
        made._from_variables = from_variables
        return made
