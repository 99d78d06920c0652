"""One thread per node that asks it everything: a node that hangs delays nobody but itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from harness.cluster.modules import Modules
from harness.cluster.node import Node
from harness.errors import DistError, EnvironmentProblem, HarnessError, RemoteError
from harness.history import Mark
from harness.metrics import Figures
from harness.probes.consistency import Consistency
from harness.probes.install import ensure_started
from harness.probes.lag import LagProbe
from harness.probes.membership import MembershipProbe
from harness.probes.runtime import sample_runtime

PERIOD = 0.25  # seconds between two drains of a node's events
_VIEWS, _LAG, _RUNTIME = 4, 2, 8  # every so many periods
_TIMEOUT = 1.0  # seconds an answer may take


class NodeWatch:
    """Follows one node until ``stop``. The probe is installed again whenever it is missing there."""

    def __init__(
        self,
        node: Node,
        membership: MembershipProbe,
        lag: LagProbe,
        consistency: Consistency,
        figures: Figures,
        modules: Callable[[], Modules],
        note: Callable[[Mark], None],
    ) -> None:
        self._node = node
        self._membership = membership
        self._lag = lag
        self._consistency = consistency
        self._figures = figures
        self._modules = modules
        self._note = note
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe-{node.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        due, turn = time.monotonic(), 0
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            try:
                self._ask(turn)
                turn += 1
            except RemoteError:
                self._install()
            except DistError:
                self._membership.lost(self._node.name)
                turn = 0  # the first answer after a silence is a full look
            except Exception as error:  # whatever ends the watch: checkers have to know that nobody looked any more
                cause = str(error) if isinstance(error, OSError | HarnessError) else repr(error)
                self._note(Mark(time.monotonic_ns(), "probe_failed", {"node": self._node.name, "cause": cause}))
                return
            due = max(due + PERIOD, time.monotonic())

    def _ask(self, turn: int) -> None:
        """Events first: they can be asked for again when the answer is lost; what lag hands out is gone."""
        self._membership.drain(self._node, _TIMEOUT)
        if turn % _LAG:
            return
        view = self._membership.views()[self._node.name]
        if view is None or turn % _VIEWS == 0:
            view = self._membership.look(self._node, _TIMEOUT)
        self._lag.poll(self._node, view, _TIMEOUT)
        if turn % _VIEWS == 0:
            self._consistency.looked(self._node.name, self._membership.views())
        if turn % _RUNTIME == 0:
            sample_runtime(self._node, view, self._figures, _TIMEOUT)

    def _install(self) -> None:
        self._lag.disarm(self._node.name)
        try:
            ensure_started(self._node, self._modules, _TIMEOUT)
        except (DistError, EnvironmentProblem):
            self._membership.lost(self._node.name)
