"""A process of its own with a connection or two, for what a test cannot do to itself: stop, spin, be weighed.

    python dist_child.py JOB RUNTIME NUMBER OPTIONS [OPTIONS]

RUNTIME is ``threads`` or ``greenlets`` (everything patched, as in a Locust worker), OPTIONS are those of `connect` in
JSON, for each connection. Each line it writes is JSON; a job that says ``ready`` goes on after a line of input.
"""

from __future__ import annotations

import sys

if sys.argv[2] == "greenlets":
    from gevent import monkey

    monkey.patch_all()

import contextlib
import functools
import gc
import hashlib
import json
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.dist import Connection, connect
from harness.dist.tls import Credentials
from harness.errors import HarnessError, RemoteError
from harness.etf import COMPILED, Atom

CALLERS = 50

Lost = queue.Queue[str]


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


def busy(seconds: float) -> None:
    """Compute without ever giving way to another greenlet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def spin(seconds: float, lost: Lost, link: Connection, stuck: Connection | None = None) -> None:
    """Compute for `seconds` while a call is being served; call again. ``stuck`` cannot get its call out meanwhile."""
    waiting: list[str] = []
    calls = [lambda: link.rpc("timer", "sleep", [int(seconds * 1000)], timeout=None)]
    if stuck is not None:
        payload = bytes(20 << 20)
        calls.append(lambda: stuck.rpc("erlang", "byte_size", [payload], timeout=None))
        say(ready=True)
        sys.stdin.readline()
    for call in calls:
        threading.Thread(target=lambda call=call: waiting.append(outcome(call)), daemon=True).start()
    for _ in range(100):  # what has to be sent is on its way now
        link.rpc("erlang", "abs", [-1])
    busy(seconds)
    after = outcome(lambda: link.rpc("erlang", "abs", [-1], timeout=30))
    while not waiting:
        time.sleep(0.01)
    say(after=after, waiting=waiting, closed=link.closed)


def stopped(_number: float, lost: Lost, link: Connection) -> None:
    """Wait for an answer that never comes; whoever started this stops and continues the process meanwhile."""
    waited = outcome(lambda: link.rpc("timer", "sleep", [Atom("infinity")], timeout=None))
    say(waited=waited, cause=lost.get(), after=outcome(lambda: link.rpc("erlang", "abs", [-1])))


def slow(number: float, lost: Lost, link: Connection) -> None:
    """An argument and a reply of `number` bytes, one after the other."""
    size = int(number)
    payload = os.urandom(size)
    assert link.rpc("erlang", "md5", [payload], timeout=120) == hashlib.md5(payload).digest()
    assert link.rpc("binary", "copy", [b"x", size], timeout=120) == b"x" * size
    say(closed=link.closed)


def large(number: float, lost: Lost, link: Connection) -> None:
    """Three arguments and three replies of `number` bytes at once, small calls in between."""
    size = int(number)
    payload = os.urandom(1 << 20) * (size >> 20)
    digest = hashlib.md5(payload).digest()
    over = threading.Event()
    small = Counter[str]()

    def out() -> None:
        assert link.rpc("erlang", "md5", [payload], timeout=120) == digest

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


class Interrupted(Exception):
    """What a signal raises in the middle of a call; in greenlets a timeout of theirs."""


def impatient(number: float, lost: Lost, link: Connection) -> None:
    """Callers that give up, or are interrupted, while they wait, among others that wait on: whoever happens to read
    for all when he leaves has to be replaced."""
    patient, hurried = Counter[str](), Counter[str]()
    over = threading.Event()

    def wait(seed: int) -> None:
        while not over.is_set():
            term = (seed, time.monotonic_ns())
            link.rpc("timer", "sleep", [100], timeout=60)  # seldom writes: that is no moment for an interruption
            for call in (link.rpc, link.erpc):
                answer = call("erlang", "hd", [[term]], timeout=60)
                patient["ok" if answer == term else f"{answer!r} for {term!r}"] += 1

    def hurry(seed: int) -> None:
        for n in range(int(number)):
            sleeping = [(seed + n) % 30]
            hurried[outcome(lambda sleeping=sleeping: link.rpc("timer", "sleep", sleeping, timeout=0.012))] += 1

    def interrupted() -> int:
        count = 0
        for n in range(8):
            name = Atom(f"sleeper_{os.getpid()}_{n}")
            try:
                with interruption(lambda name=name: link.rpc("erlang", "whereis", [name], timeout=60) is not None):
                    link.rpc("erl_eval", "exprs", [sleeping_as(name), []], timeout=None)
            except Interrupted:
                count += 1
        return count

    waiting = [threading.Thread(target=wait, args=(seed,)) for seed in range(4)]
    for thread in waiting:
        thread.start()
    try:
        times = interrupted()
        at_once(*[functools.partial(hurry, seed) for seed in range(20)])
    finally:
        over.set()
    for thread in waiting:
        thread.join()
    say(patient=patient, impatient=hurried, interrupted=times, closed=link.closed)


def sleeping_as(name: Atom) -> list[Any]:
    """The parsed form of ``register(Name, self()), receive after infinity -> ok end``."""

    def atom(word: str) -> tuple[Any, ...]:
        return Atom("atom"), 1, Atom(word)

    registering = (Atom("call"), 1, atom("register"), [atom(name), (Atom("call"), 1, atom("self"), [])])
    return [registering, (Atom("receive"), 1, [], atom("infinity"), [atom("ok")])]


@contextlib.contextmanager
def interruption(at_work: Callable[[], bool]) -> Iterator[None]:
    """Interrupted is raised here 0.2 s after `at_work`: then the call was sent, and whoever made it waits."""
    if sys.argv[2] == "greenlets":
        import gevent

        waiter = gevent.getcurrent()
        strike = functools.partial(gevent.get_hub().loop.run_callback, waiter.throw, Interrupted)
    else:
        signal.signal(signal.SIGALRM, interrupt)
        strike = functools.partial(signal.pthread_kill, threading.get_ident(), signal.SIGALRM)

    def watch() -> None:
        while not at_work():
            time.sleep(0.01)
        time.sleep(0.2)
        strike()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        watching.join()


def interrupt(*_: object) -> None:
    raise Interrupted


def weigh(number: float, lost: Lost, link: Connection) -> None:
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
            elif kind == 4 and n % 1000 == 4:  # mostly too late
                assert outcome(lambda: link.rpc("timer", "sleep", [50], timeout=0.01)) in (
                    "CallTimeout",
                    "NotSent",
                    "ok",
                )
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
    say(grown=grown, resident=begin, compiled=COMPILED)


def raises(kind: type[HarnessError], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind}")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def wanted(options: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(options)
    if "tls" in told:
        told["tls"] = Credentials.given(told["tls"]).client_context()
    return told


def main() -> None:
    job, runtime, number, *options = sys.argv[1:]
    given: dict[str, Any] = {}
    if runtime == "greenlets":
        from harness.load.greenlets import GREENLETS

        given["runtime"] = GREENLETS
    lost: Lost = queue.Queue()
    links = [connect(**given, **wanted(each), on_close=lambda error: lost.put(error.cause)) for each in options]
    jobs: dict[str, Callable[..., None]] = {
        "spin": spin, "stopped": stopped, "slow": slow, "large": large, "impatient": impatient, "weigh": weigh,
    }  # fmt: skip
    jobs[job](float(number), lost, *links)
    for link in links:
        link.close()


if __name__ == "__main__":
    main()
