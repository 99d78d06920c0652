"""What Locust loads in the master and worker processes of a run (``harness.load.launch`` starts them).

Binds the run's Coordinator and Worker to Locust's runners, messages and statistics; everything else is in them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from locust import User, events, task
from locust.exception import StopUser
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner
from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time

from harness.dist.tls import Credentials
from harness.histogram import bounds_of
from harness.history import OK, OUTCOMES
from harness.load.channel import Channel
from harness.load.children import CHANNEL_FD, LIFELINE_FD, WORKER_INDEX
from harness.load.coordinator import Coordinator
from harness.load.greenlets import GREENLETS
from harness.load.snapshot import Stats
from harness.load.worker import Worker


class OperationsUser(User):
    """A user of the scenario's ``operations``; how many there are is Locust's business, what they do the driver's."""

    @task
    def serve(self) -> None:
        self.environment.harness.driver.serve()
        raise StopUser


class PageStats:
    """Locust's page and tables from our histograms: what was added since the last report, once per report.

    An ``events.request`` per operation would be work on the hot path that nobody looks at more often than this.
    """

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._seen: dict[Any, dict[int, int]] = {}
        self._last = int(time.time())

    def report(self, data: dict[str, Any]) -> None:
        """Fill the message that Locust is about to send its master."""
        made = RequestStats(use_response_times_cache=False)
        now = int(time.time())
        for key, tally in list(self._stats.tallies.items()):
            seen = self._seen.setdefault(key, {})
            added = {b: n - seen.get(b, 0) for b, n in tally.duration.counts.items() if n != seen.get(b, 0)}
            if added:
                self._seen[key] = dict(tally.duration.counts)
                self._add(made, key, added, now)
        self._last = now
        data["stats"] = made.serialize_stats()
        data["stats_total"] = made.total.get_stripped_report()
        data["errors"] = made.serialize_errors()

    def _add(self, made: RequestStats, key: tuple[str, str, int, str], added: dict[int, int], now: int) -> None:
        op, _, outcome, reason = key
        entry = made.get(op, "erlang")
        total = sum(added.values())
        failed = 0 if outcome == OK else total
        for one in (entry, made.total):
            self._add_times(one, added, now)
            one.num_requests += total
            one.num_failures += failed
            for second, n in _spread(total, self._last, now):
                one.num_reqs_per_sec[second] += n
                if failed:
                    one.num_fail_per_sec[second] += n
        if failed:
            cause = f"{OUTCOMES[outcome]}: {reason}"
            error = made.errors.setdefault(StatsError.create_key("erlang", op, cause), StatsError("erlang", op, cause))
            error.occurred()
            error.occurrences += failed - 1

    def _add_times(self, entry: StatsEntry, added: dict[int, int], now: int) -> None:
        for bucket, n in added.items():
            low, high = bounds_of(bucket)
            exact = (low + high) / 2e6
            ms = round(exact)
            entry.response_times[bucket_response_time(exact)] += n
            entry.total_response_time += round(exact * n)
            entry.max_response_time = max(entry.max_response_time, ms)
            entry.min_response_time = ms if entry.min_response_time is None else min(entry.min_response_time, ms)
        entry.last_request_timestamp = now


def _spread(total: int, last: int, now: int) -> list[tuple[int, int]]:
    """Evenly over the seconds since the last report, so that the page's rate does not jump."""
    seconds = range(last + 1, now + 1) or range(now, now + 1)
    each, rest = divmod(total, len(seconds))
    return [(second, each + (i < rest)) for i, second in enumerate(seconds) if each or i < rest]


class _MasterRunner:
    """Coordinator's view of Locust's master."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner

    def send(self, type: str, data: dict[str, Any], client_id: str) -> None:
        self._runner.send_message(type, data, client_id)

    def users_of(self, client_id: str) -> int:
        client = self._runner.clients.get(client_id)
        return client.user_count if client is not None else 0

    def hears(self, client_id: str) -> bool:
        client = self._runner.clients.get(client_id)
        return client is not None and client.state != STATE_MISSING

    def knows(self, client_id: str) -> bool:
        return client_id in self._runner.clients

    def quit(self) -> None:
        environment: Any = self._runner.environment
        if environment.web_ui is not None:
            environment.web_ui.stop()
        self._runner.quit()


def _be_master(environment: Any, runner: MasterRunner) -> None:
    channel = Channel(socket.socket(fileno=int(os.environ[CHANNEL_FD])))
    job = next(iter(channel), None)
    if job is None:
        sys.exit(0)  # the owner was gone before it began
    coordinator = Coordinator(channel, job, _MasterRunner(runner))
    if coordinator.load.locustfile is not None:
        environment.user_classes = [c for c in environment.user_classes if c is not OperationsUser]
        if not environment.user_classes:
            coordinator.problem(f"{coordinator.load.locustfile} has no class of users")
    listeners = {
        "hello": lambda msg: coordinator.on_hello(msg.node_id, msg.data),
        "clock": lambda msg: coordinator.on_clock(msg.node_id, msg.data),
        "ready": lambda msg: coordinator.on_ready(msg.node_id, msg.data),
        "snapshot": lambda msg: coordinator.on_snapshot(msg.data),
        "event": lambda msg: coordinator.on_event(msg.data),
        "segment": lambda msg: coordinator.on_segment(msg.data),
        "done": lambda msg: coordinator.on_done(msg.node_id),
    }
    for name, listener in listeners.items():
        runner.register_message(f"harness_{name}", lambda msg, listener=listener, **_: listener(msg))
    shaped = environment.shape_class is not None  # a locustfile's LoadTestShape: it decides how many users there are
    environment.events.spawning_complete.add_listener(
        lambda user_count, **_: coordinator.spawned(coordinator.load.users if shaped else user_count)
    )
    by = "the locustfile" if shaped or environment.web_ui is None else "web page"
    environment.events.test_stopping.add_listener(lambda **_: coordinator.halted(by))
    coordinator.start()
    if not coordinator.wait_ready():
        sys.exit(0)
    # Locust starts the users when this returns


def _be_worker(environment: Any, runner: WorkerRunner) -> None:
    index = int(os.environ.get(WORKER_INDEX, "0"))
    cookie = os.environ.get("HARNESS_COOKIE", "")
    tls = os.environ.get("HARNESS_TLS", "")
    worker = Worker(runner.send_message, GREENLETS, cookie, index, Credentials.given(tls) if tls else None)
    environment.harness = worker

    def stop_users(timeout: float) -> None:
        environment.stop_timeout = timeout
        runner.stop()

    worker.stop_users = stop_users

    def refused(msg: Any) -> None:
        sys.stderr.write(f"harness worker: the master does not take this worker: {msg.data['cause']}\n")
        environment.process_exit_code = 4
        runner.quit()

    listeners = {
        "plan": lambda msg: worker.on_plan(msg.data),
        "clock": lambda msg: worker.on_clock(msg.data),
        "go": lambda msg: worker.on_go(msg.data),
        "stop": lambda msg: worker.on_stop(msg.data),
        "refused": refused,
    }

    def obey(listener: Callable[[Any], None], msg: Any) -> None:
        try:
            listener(msg)
        except Exception as error:
            worker.broken(error)
            raise

    for name, listener in listeners.items():
        runner.register_message(
            f"harness_{name}",
            lambda msg, listener=listener, **_: obey(listener, msg),
            concurrent=name != "clock",
        )
    page = PageStats(worker.stats)

    def report(client_id: str, data: dict[str, Any]) -> None:
        if worker.driver is not None:  # users of a locustfile of one's own fire Locust's request event instead
            page.report(data)

    environment.events.report_to_master.add_listener(report)
    environment.events.user_error.add_listener(
        lambda user_instance, exception, **_: worker.user_failed(_user_of(user_instance), exception)
    )
    environment.events.quitting.add_listener(lambda **_: worker.end(1.0))  # somebody's Ctrl-C: what is recorded is sent
    if LIFELINE_FD in os.environ:
        threading.Thread(target=_follow_owner, args=(int(os.environ[LIFELINE_FD]), worker), daemon=True).start()
    worker.hello()


def _user_of(instance: Any) -> str:
    """Locust gives the set of tasks where one of its tasks has raised, else the user."""
    return type(getattr(instance, "user", instance)).__name__


def _follow_owner(fd: int, worker: Worker) -> None:
    """End with the owner even if the master is gone as well and says nothing."""
    lifeline = socket.socket(fileno=fd)
    while lifeline.recv(1):
        pass
    try:
        worker.end(1.0)
    finally:
        os._exit(0)  # not through Locust, which would wait for its master


def _on_init(environment: Any, runner: Any, **_: Any) -> None:
    if isinstance(runner, MasterRunner) and CHANNEL_FD in os.environ:
        _be_master(environment, runner)
    elif isinstance(runner, WorkerRunner):
        _be_worker(environment, runner)


cast(Any, events).init.add_listener(_on_init)
