"""One Erlang node in its container, and the harness's control connection to it."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import requests
from docker.errors import APIError, DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.netns import Netns
from harness.dist import Connection, connect
from harness.errors import ClusterNotFormed, DistError, HandshakeRefused, RemoteError
from harness.etf import Atom, Term
from harness.scenario.plan import PlannedNode
from harness.scenario.schema import Health
from harness.scenario.values import module_name, to_term

DIST_PORT = 9100
State = Literal["running", "paused", "exited"]

_POLL = 0.1  # seconds between two questions to a node that is not ready yet
_LOOK = 0.5  # seconds between two looks at its container: these cost the engine more than the node
_LAST_LINES = 6


class Node:
    """A node of a started cluster. ``name`` is the scenario's, ``node_name`` Erlang's. Thread-safe.

    ``dial`` is where its distribution port is reached from here: the bridge address, or the relay's published port.
    """

    def __init__(
        self, engine: Engine, planned: PlannedNode, *, image: str, container_id: str, helper: Netns, address: str,
        dial: tuple[str, int], cookie: str, local: str, ticktime: float, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.name = planned.name
        self.node_name = planned.node_name
        self.host = planned.host
        self.image = image
        self.foreign = bool(planned.image)
        self.address = address
        self.container_id = container_id
        self.helper = helper
        self.dial = dial
        self._engine = engine
        self._api = engine.client.api
        self._cookie = cookie
        self._local = local
        self._ticktime = ticktime
        self._tls = tls
        self._connecting = threading.Lock()
        self._connection: Connection | None = None

    # --- over distribution ---

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float = 5.0) -> Term:
        """Call on the control connection, made when first needed and again when lost. ``timeout`` in seconds.

        Raises what ``Connection.rpc`` and ``connect`` raise: NotSent, ConnectionLost, CallTimeout, RemoteError.
        """
        deadline = time.monotonic() + timeout
        connection = self.connection(timeout)
        return connection.rpc(module, function, args, max(0.001, deadline - time.monotonic()))

    def otp_release(self) -> str:
        """The OTP release it runs, as in ``27``. Raises DistError."""
        answer = self.rpc("erlang", "system_info", [Atom("otp_release")])
        return bytes(answer).decode() if isinstance(answer, list) else str(answer)

    def connection(self, timeout: float = 5.0) -> Connection:
        """The control connection. Raises NotSent or HandshakeRefused."""
        with self._connecting:
            if self._connection is None or self._connection.closed:
                host, port = self.dial
                self._connection = connect(
                    self.node_name, host=host, port=port, local=self._local, cookie=self._cookie,
                    timeout=timeout, ticktime=self._ticktime, tls=self._tls,
                )  # fmt: skip
            return self._connection

    def close(self) -> None:
        """End the control connection and the helper's shell; the containers stay."""
        with self._connecting:
            if self._connection is not None:
                self._connection.close()
        self.helper.close()

    # --- the container ---

    def start(self) -> None:
        """Start the container again; name, address and rules are as before. Returns before the node is ready."""
        self._act("start", lambda: self._api.start(self.container_id))

    def kill(self) -> None:
        """SIGKILL to the whole container; returns when it has exited. Of an exited one: nothing."""
        self._act("kill", lambda: self._api.kill(self.container_id, "KILL"), fine="is not running")
        self._wait_exited(10)

    def stop(self, timeout: float = 10.0) -> None:
        """SIGTERM, and SIGKILL when it has not exited after ``timeout`` seconds."""
        self._act("stop", lambda: self._api.stop(self.container_id, timeout=max(1, round(timeout))))

    def pause(self) -> None:
        """Freeze every process. Of a paused one: nothing."""
        self._act("pause", lambda: self._api.pause(self.container_id), fine="already paused")

    def unpause(self) -> None:
        """Thaw. Of one that is not paused: nothing."""
        self._act("unpause", lambda: self._api.unpause(self.container_id), fine="is not paused")

    def try_kill(self) -> None:
        """Whether the engine lets us send signals at all, by one that changes nothing."""
        self._act("signal", lambda: self._api.kill(self.container_id, "CONT"))

    def try_pause(self) -> None:
        """Whether the engine can freeze and thaw, on the helper: nothing runs in it that would miss a moment."""
        self._act("pause", lambda: self._api.pause(self.helper.container_id))
        self._act("unpause", lambda: self._api.unpause(self.helper.container_id))

    def state(self) -> State:
        return _state(self._inspect())

    def logs(self, tail: int | Literal["all"] = 50) -> str:
        """The container's last lines, both streams."""
        try:
            said: bytes = self._api.logs(self.container_id, stdout=True, stderr=True, tail=tail)
        except (DockerException, requests.RequestException) as error:
            raise engine_failed("read logs", error, self.name) from error
        return said.decode(errors="replace")

    def died(self) -> ClusterNotFormed | None:
        """If the container is not running: an error with its exit status and last log lines."""
        inspected = self._inspect()
        if _state(inspected) != "exited":
            return None
        state = inspected["State"]
        lines = [line.strip() for line in self.logs(_LAST_LINES).splitlines() if line.strip()]
        said = " | ".join(lines) or "it said nothing"
        why = "out of memory" if state.get("OOMKilled") else f"status {state.get('ExitCode')}"
        return ClusterNotFormed(
            "start", f"the node exited ({why}), its last lines: {said}", "mend that and run again", node=self.name
        )

    # --- ready ---

    def wait_ready(
        self, timeout: float, health: Health | None = None, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until the node answers over distribution and says that it is ready.

        Ours: ``node_app:ready()``, which covers its peers and tables. Another: ``health``, else any answer.
        Raises ClusterNotFormed: it exited (with its last log lines), refuses the cookie, or is not ready in time.
        """
        deadline = time.monotonic() + timeout
        refusals, looked = 0, 0.0
        while True:
            try:
                waits_for = self._ready(health, min(2.0, timeout))
                if waits_for is None:
                    return
            except HandshakeRefused as error:
                waits_for = str(error)
                refusals += error.reason == "cookie"
                if refusals > 2:
                    raise self._cookie_refused() from error
            except DistError as error:
                waits_for = str(error)
            now = time.monotonic()
            if now - looked > _LOOK:
                looked = now
                if exited := self.died():
                    raise exited
            if given_up():
                raise ClusterNotFormed("start", "given up", node=self.name)
            if now > deadline:
                raise ClusterNotFormed(
                    "start", f"not ready within {timeout:.0f} s: {waits_for}",
                    "see its log, or allow more with cluster.ready_within", node=self.name,
                )  # fmt: skip
            time.sleep(_POLL)

    def _ready(self, health: Health | None, timeout: float) -> str | None:
        """None when ready, else what it waits for."""
        if health is not None:
            args = [to_term(value) for value in health.args]
            answer = self.rpc(module_name(health.module), health.function, args, timeout)
            expected = to_term(health.returns)
            told = f"{health.module}:{health.function} returned {answer!r}, not {expected!r}"
            return None if answer == expected else told
        if self.foreign:
            self.rpc("erlang", "node", (), timeout)
            return None
        answer = self.rpc("node_app", "ready", (), timeout)
        return None if answer == Atom("ready") else repr(answer)

    def _cookie_refused(self) -> ClusterNotFormed:
        remedy = "give the node's own in cluster.cookie"
        if self.foreign:
            remedy += ", or hand ours on: environment {RELEASE_COOKIE: '{cookie}'} or -setcookie {cookie}"
        return ClusterNotFormed("start", "the node has another cookie than the harness", remedy, node=self.name)

    # --- the engine's side ---

    def _act(self, verb: str, act: Callable[[], Any], fine: str = "\0") -> None:
        try:
            act()
        except APIError as error:
            if fine not in str(error.explanation):
                raise engine_failed(verb, error, self.name) from error
        except (DockerException, requests.RequestException) as error:
            raise engine_failed(verb, error, self.name) from error

    def _wait_exited(self, timeout: int) -> None:
        def wait() -> None:
            self._api.wait(self.container_id, timeout=timeout, condition="not-running")

        self._act("wait for exit", wait)

    def _inspect(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._api.inspect_container(self.container_id)
        except (DockerException, requests.RequestException) as error:
            raise engine_failed("inspect", error, self.name) from error
        return found


def _state(inspected: dict[str, Any]) -> State:
    state = inspected["State"]
    if state.get("Paused"):
        return "paused"
    return "running" if state.get("Running") else "exited"


def answers(node: Node, module: str, function: str, args: Sequence[Term] = ()) -> Term:
    """An RPC's answer, None where the node does not know the function."""
    with contextlib.suppress(RemoteError):
        return node.rpc(module, function, args)
    return None
