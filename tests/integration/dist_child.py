"""A process of its own with one connection, for what a test cannot do to itself: stop, spin, be weighed.

    python dist_child.py JOB RUNTIME PEER ADDRESS TICKTIME [NUMBER]

RUNTIME is ``threads`` or ``greenlets`` (everything patched, as in a Locust worker). Each line it writes is JSON.
"""

from __future__ import annotations

import sys

if sys.argv[2] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import gc
import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.dist import Connection, connect
from harness.errors import CallTimeout, HarnessError, NotSent, RemoteError
from harness.etf import Atom

CALLERS = 50


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except HarnessError as error:
        return type(error).__name__
    return "ok"


def at_once(*jobs: Callable[[], None]) -> None:
    """Run in threads, which are greenlets where everything is patched. Raises the first error of a job."""
    errors: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def spin(link: Connection, lost: queue.Queue[str], seconds: float) -> None:
    """Compute for `seconds` without ever giving way to another greenlet, then call."""
    waiting: list[str] = []
    sleeper = threading.Thread(
        target=lambda: waiting.append(outcome(lambda: link.rpc("timer", "sleep", [int(seconds * 1000)], timeout=None)))
    )
    sleeper.start()
    while not link.rpc("erlang", "nodes", [Atom("hidden")]):
        pass
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    after = outcome(lambda: link.rpc("erlang", "abs", [-1]))
    sleeper.join()
    say(after=after, waiting=waiting[0], closed=link.closed)


def stopped(link: Connection, lost: queue.Queue[str], _number: float) -> None:
    """Wait for an answer that never comes; whoever started this stops and continues the process meanwhile."""
    say(ready=True)
    waited = outcome(lambda: link.rpc("timer", "sleep", [Atom("infinity")], timeout=None))
    say(waited=waited, cause=lost.get(), after=outcome(lambda: link.rpc("erlang", "abs", [-1])))


def large(link: Connection, lost: queue.Queue[str], number: float) -> None:
    """Three arguments and three replies of `number` bytes at once, small calls in between."""
    size = int(number)
    payload = os.urandom(1 << 20) * (size >> 20)
    over = threading.Event()
    small = Counter[str]()

    def out() -> None:
        assert link.rpc("erlang", "md5", [payload], timeout=120) == link.rpc("erlang", "md5", [payload], timeout=120)

    def back() -> None:
        assert link.erpc("binary", "copy", [payload[: 1 << 20], size >> 20], timeout=120) == payload

    def little() -> None:
        while not over.is_set():
            small[outcome(lambda: link.rpc("erlang", "abs", [-1], timeout=60))] += 1

    asking = [threading.Thread(target=little) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        at_once(out, back, out, back, out, back)
    finally:
        over.set()
    for thread in asking:
        thread.join()
    say(small=small, closed=link.closed)


def weigh(link: Connection, lost: queue.Queue[str], number: float) -> None:
    """`number` calls of every kind and outcome by many callers; memory after a quarter of them and at the end."""

    def calls(count: int) -> None:
        for n in range(count):
            kind = n % 100
            if kind == 0:
                raises(RemoteError, lambda: link.rpc("erlang", "error", [Atom("boom")], timeout=60))
            elif kind == 1:
                raises(RemoteError, lambda: link.erpc("erlang", "exit", [Atom("boom")], timeout=60))
            elif kind == 2:
                link.cast("erlang", "abs", [n])
            elif kind == 3:
                link.send_named("nobody_has_this_name", n)
            elif kind == 4 and n % 1000 == 4:
                raises((CallTimeout, NotSent), lambda: link.rpc("timer", "sleep", [50], timeout=0.01))
            elif n % 3 == 0:
                assert link.erpc("erlang", "abs", [-n], timeout=60) == n
            else:
                assert link.rpc("erlang", "abs", [-n], timeout=60) == n

    def batch(whole: int) -> int:
        at_once(*[lambda: calls(whole // CALLERS)] * CALLERS)
        gc.collect()
        return resident()

    quarter = int(number) // 4
    begin = batch(quarter)
    grown = [batch(quarter) - begin for _ in range(3)]
    say(grown=grown, resident=begin)


def raises(kind: type[HarnessError] | tuple[type[HarnessError], ...], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind}")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> None:
    job, runtime, peer, address, ticktime, *number = sys.argv[1:]
    options: dict[str, Any] = {}
    if runtime == "greenlets":
        from harness.load.greenlets import GREENLETS

        options["runtime"] = GREENLETS
    lost: queue.Queue[str] = queue.Queue()
    link = connect(
        peer, host=address, cookie="test-cookie", local=f"{job}_{runtime}@harness", ticktime=float(ticktime),
        on_close=lambda error: lost.put(error.cause), **options,
    )  # fmt: skip
    jobs = {"spin": spin, "stopped": stopped, "large": large, "weigh": weigh}
    jobs[job](link, lost, float(number[0]) if number else 0.0)
    link.close()


if __name__ == "__main__":
    main()
