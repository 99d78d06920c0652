"""Bare Erlang nodes in containers, on an internal network of their own: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import APIError

from harness.dist import Connection, connect
from harness.errors import DistError

LABELS = {"harness.role": "experiment"}
COOKIE = "test-cookie"


@dataclass
class ErlangNode:
    """A container running ``erl -sname <host>@<host>`` with net_ticktime 8. ``given``: how it is connected to."""

    otp: int
    host: str
    address: str
    container: Any = field(repr=False)
    given: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return f"{self.host}@{self.host}"

    def connect(self, **changes: Any) -> Connection:
        given = {"host": self.address, "cookie": COOKIE, "ticktime": 8.0, "timeout": 30.0, **self.given, **changes}
        return connect(given.pop("peer", self.name), **given)

    def wait_ready(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect(local="ready@harness").close()
                return
            except DistError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def evaluate(call: Callable[..., Any], source: str, timeout: float = 60.0) -> Any:
    """The value of Erlang expressions ("X = 1, X + 1."), evaluated in one `call`: a connection's rpc or erpc."""
    _, tokens, _ = call("erl_scan", "string", [list(source.encode())], 60.0)
    _, expressions = call("erl_parse", "parse_exprs", [tokens], 60.0)
    _, value, _ = call("erl_eval", "exprs", [expressions, []], timeout)
    return value


def asleep(link: Connection) -> int:
    """Processes in ``timer:sleep/1``: those that served lost calls among them, they know nothing of that."""
    sleeping = "[P || P <- processes(), process_info(P, current_function) =:= {current_function, {timer, sleep, 1}}]"
    count: int = evaluate(link.rpc, f"length({sleeping}).")
    return count


StartErlang = Callable[..., ErlangNode]


@contextlib.contextmanager
def erlang_nodes(image: Callable[[int], str], *, inet6: bool = False) -> Iterator[StartErlang]:
    """``start(otp, *more_arguments)``: a node that answers; all of them live until the end of the context.

    ``prepare(container, host)`` is called before the node is started; what else is ``given`` goes to its `connect`.
    The host name ``harness`` is this machine's: a node that answers a connection of ours that is gone looks it up, and
    its net_kernel does nothing else until it has an answer (8 s where nobody gives one).
    With `inet6` they speak distribution (and EPMD) over IPv6 and have no other address that anybody is told.
    """
    client = docker.from_env()
    network, subnet = _network(client, inet6)
    started: list[Any] = []
    prefix = subnet6(subnet) if inet6 else f"{subnet}."
    family = ["-proto_dist", "inet6_tcp"] if inet6 else []

    def start(
        otp: int,
        *arguments: str,
        prepare: Callable[[Any, str], Any] = lambda container, host: None,
        environment: dict[str, str] | None = None,
        **given: Any,
    ) -> ErlangNode:
        number = len(started) + 1
        host, address = f"t{number}", f"{prefix}{10 + number}"
        container = client.containers.create(
            image(otp),
            [
                *f"erl -noinput -sname {host}@{host} -setcookie {COOKIE} -kernel net_ticktime 8".split(),
                *family,
                *arguments,
            ],
            environment=environment,
            hostname=host,
            init=True,
            labels=LABELS,
            mem_limit="512m",
            extra_hosts={f"t{other}": f"{prefix}{10 + other}" for other in range(1, 10)} | {"harness": f"{prefix}1"},
        )
        started.append(container)
        client.networks.get("bridge").disconnect(container)
        network.connect(container, **{"ipv6_address" if inet6 else "ipv4_address": address})
        prepare(container, host)
        container.start()
        node = ErlangNode(otp, host, address, container, given)
        node.wait_ready()
        return node

    try:
        yield start
    finally:
        for container in started:
            with contextlib.suppress(APIError):  # gone already
                container.remove(force=True, v=True)
        network.remove()
        client.close()


def subnet6(subnet: str) -> str:
    """The prefix of the unique local IPv6 subnet that goes with an IPv4 one ("198.18.7" gives "fd00:c612:7::")."""
    one, two, three = map(int, subnet.split("."))
    return f"fd00:{one << 8 | two:x}:{three:x}::"


def _network(client: Any, inet6: bool) -> tuple[Any, str]:
    for _ in range(50):
        subnet = f"198.{random.choice((18, 19))}.{random.randrange(256)}"
        pools = [docker.types.IPAMPool(subnet=f"{subnet}.0/24")]
        if inet6:
            pools.append(docker.types.IPAMPool(subnet=f"{subnet6(subnet)}/64"))
        name = f"harness-test-{subnet.replace('.', '-')}"
        with contextlib.suppress(APIError):  # the subnet is taken: another
            made = client.networks.create(
                name,
                internal=True,
                enable_ipv6=inet6,
                labels=LABELS,
                ipam=docker.types.IPAMConfig(pool_configs=pools),
            )
            return made, subnet
    raise AssertionError("no free subnet in 198.18.0.0/15")
