"""ErlangUser: Locust users that speak to Erlang nodes.

    from locust import task
    from harness.load.user import ErlangUser

    class Shopper(ErlangUser):
        host = "n1@n1"

        @task
        def browse(self):
            self.client.rpc("lists", "seq", [1, 10])

Run it with plain ``locust -f shop.py`` or name it in a scenario (``load: {locustfile: shop.py}``): there targets and
cookie are assigned, one node per user, and every operation goes into the run's history.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

import gevent
from locust import User, events
from locust.exception import RescheduleTask, StopTest

from harness.dist.tls import Credentials
from harness.errors import HarnessError
from harness.etf import Atom, Term
from harness.history import OK, OUTCOMES, Operation
from harness.load import workload
from harness.load.client import Link, Op, Recorder, Session
from harness.load.greenlets import GREENLETS
from harness.load.snapshot import Stats
from harness.load.worker import Endpoint
from harness.scenario.values import module_name

__all__ = ["Atom", "CallFailed", "ErlangClient", "ErlangUser"]

# gevent's clock stood still while files were imported, and Locust counts --run-time from it: so much too short.
cast(Any, events).init.add_listener(lambda **_: gevent.get_hub().loop.update_now())

_OPEN_WITHIN: Final = 5.0  # s the first user of a node waits for the connection


class CallFailed(RescheduleTask):
    """An operation that was not ok. Uncaught it ends the task quietly: Locust has counted the failure already.

    ``outcome``: "fail" (certainly did not happen) or "unknown" (may have); ``reason``: a short word;
    ``__cause__``: the error in full, where there was one.
    """

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome = outcome
        self.reason = reason

    def __repr__(self) -> str:  # Locust groups failures by this
        return str(self)


class ErlangClient:
    """What ``self.client`` of an ErlangUser can do. Every method raises CallFailed unless the outcome is ok.

    Arguments are Erlang terms: str is a binary, ``Atom("name")`` an atom, True/False/None the atoms true, false and
    undefined; numbers, lists, tuples and dicts are themselves. ``timeout`` in seconds; ``name`` is what the operation
    is called in statistics and reports, by default what is called. Do not put ids into it.
    """

    def __init__(self, user: ErlangUser, session: Session) -> None:
        self._user = user
        self._session = session

    def rpc(
        self,
        module: str,
        function: str,
        args: Sequence[Term] = (),
        *,
        name: str = "",
        timeout: float | None = None,
    ) -> Term:
        """What ``rpc:call(Node, Module, Function, Args)`` gives. Elixir modules as ``Shop.Orders``."""
        name = name or f"{module}:{function}/{len(args)}"
        request = workload.Request(module_name(module), function, tuple(args))
        return self._perform(Operation(name, "rpc"), request, self._session.recorder.new_id(), -1, timeout)

    def write(
        self,
        table: str,
        value: Term,
        context: str = "transaction",
        *,
        key: Term = None,
        name: str = "",
        timeout: float | None = None,
    ) -> Term:
        """Write {Table, Key, Value} and return the key. Without ``key`` a number that is never used again is taken, and
        in a scenario that row is checked for at the end; a row under a key of one's own is not."""
        op_id = self._session.recorder.new_id()
        kind, row, recorded = ("write", op_id, op_id) if key is None else ("put", key, -1)
        request = workload.write(table, _known(context), row, value)
        self._perform(self._on_table(kind, table, context, name), request, op_id, recorded, timeout)
        return row

    def read(
        self,
        table: str,
        key: Term,
        context: str = "transaction",
        *,
        name: str = "",
        timeout: float | None = None,
    ) -> list[Term]:
        """The rows of a key: tuples (table, key, value), none where there is none."""
        request = workload.read(table, _known(context), key)
        recorded = key if isinstance(key, int) and 0 <= key < 1 << 63 else -1
        operation = self._on_table("read", table, context, name)
        rows: list[Term] = self._perform(operation, request, self._session.recorder.new_id(), recorded, timeout)
        return rows

    def update(
        self,
        table: str,
        number: int,
        context: str = "transaction",
        *,
        name: str = "",
        timeout: float | None = None,
    ) -> int:
        """Append an operation id to the list under {key, Number} and return the id. Needs the module ``harness_probe``
        in the node: there in every scenario."""
        op_id = self._session.recorder.new_id()
        request = workload.update(table, _known(context), number, op_id)
        self._perform(self._on_table("update", table, context, name), request, op_id, number, timeout)
        return op_id

    def _on_table(self, kind: str, table: str, context: str, name: str) -> Operation:
        return Operation(name or f"{kind} {table} {context}", kind, table, context)

    def _perform(
        self, operation: Operation, request: workload.Request, op_id: int, key: int, timeout: float | None
    ) -> Term:
        session, user = self._session, self._user
        recorder = session.recorder
        operation = replace(operation, name=recorder.name(operation.name))
        kind = "write" if operation.kind == "put" else operation.kind
        limit = user.timeout if timeout is None else timeout
        op = Op(recorder.number(operation), operation.name, kind, operation.context, limit)
        recorder.stats.offered[operation.name, session.link.target.node] += 1
        start = recorder.clock()
        judged = session.perform(op, request, op_id, key)
        failed: CallFailed | None = None
        if judged.outcome != OK:
            failed = CallFailed(OUTCOMES[judged.outcome], judged.reason)
        events: Any = user.environment.events
        events.request.fire(
            request_type="erlang",
            name=operation.name,
            response_time=(recorder.clock() - start) / 1e6,
            response_length=0,
            response=judged.result,
            exception=failed,
            context=user.context(),
        )
        if failed is not None:
            raise failed from (judged.result if isinstance(judged.result, HarnessError) else None)
        return judged.result


class ErlangUser(User):
    """Base class of one's own users. Class attributes; in a scenario only ``timeout`` is read.

    ``host``: ``NODE``, ``NODE/ADDRESS`` or ``NODE/ADDRESS:PORT`` (also ``locust --host``), where NODE is the name the
    node itself goes by (``n1@127.0.0.1``) and ADDRESS where it is reached if not under that name; without PORT the
    EPMD there is asked. ``cookie``: empty takes HARNESS_COOKIE from the environment. ``timeout`` (s): after it the
    outcome of an operation is unknown. ``ticktime`` (s): the node's net_ticktime. ``tls``: for nodes whose distribution
    is over TLS a folder with ca.pem, cert.pem and key.pem; empty takes HARNESS_TLS.
    """

    abstract = True
    host: str | None = None
    cookie: str = ""
    timeout: float = 5.0
    ticktime: float = 60.0
    tls: str = ""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        run = getattr(environment, "harness", None)
        session = run.session() if run is not None else _plain_session(self)
        self.client = ErlangClient(self, session)


def _plain_session(user: ErlangUser) -> Session:
    """Outside a run: one connection per process and node, no history."""
    environment: Any = user.environment
    cookie = user.cookie or os.environ.get("HARNESS_COOKIE", "")
    host = user.host or ""
    if "@" not in host:
        raise StopTest(f"{type(user).__name__}: host is {host!r}; write NODE@HOST there or after --host")
    if not cookie:
        raise StopTest(f"{type(user).__name__}: no cookie; set the class attribute or HARNESS_COOKIE")
    plain = environment.__dict__.setdefault("harness_plain", {"links": {}, "recorder": None})
    if plain["recorder"] is None:  # ids start anywhere: rows of an earlier run may still be in the tables
        plain["recorder"] = Recorder(Stats(), secrets.randbits(22))
    link = plain["links"].get((host, cookie))
    if link is None:
        worker = getattr(environment.runner, "worker_index", -1) + 1
        tls = user.tls or os.environ.get("HARNESS_TLS", "")
        link = plain["links"][host, cookie] = Link(
            _endpoint(host),
            local=f"harness-locust{worker or ''}@{socket.gethostname().partition('.')[0]}",
            cookie=cookie,
            runtime=GREENLETS,
            ticktime=user.ticktime,
            tls=Credentials.given(tls).client_context() if tls else None,
        )
        try:
            link.opened(_OPEN_WITHIN)
        except HarnessError as error:  # the node may come later; until then each call is a failure in the statistics
            environment.events.user_error.fire(user_instance=user, exception=error, tb=None)
    return Session(link, plain["recorder"])


def _endpoint(host: str) -> Endpoint:
    node_name, _, address = host.partition("/")
    address = address or node_name.partition("@")[2]
    if address.startswith("[") or address.count(":") != 1:
        return Endpoint(node_name, node_name, address.strip("[]"), 0)
    address, _, port = address.partition(":")
    return Endpoint(node_name, node_name, address, int(port))


def _known(context: str) -> str:
    if context not in workload.CONTEXTS:
        raise ValueError(f"{context!r} is no context; one of {', '.join(workload.CONTEXTS)}")
    return context
