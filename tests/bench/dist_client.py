"""Our client of the bench, in a process of its own so that it can be pinned and its CPU time taken.

    python -m tests.bench.dist_client ADDRESS PEER COOKIE RUNTIME KIND CONCURRENCY \\
        MODULE FUNCTION ARGUMENT MILLISECONDS SLICES

RUNTIME: threads, greenlets. KIND: rpc, erpc. ARGUMENT: as for dist_client.c.
Prints, of so many slices of so many milliseconds, the best: calls a second, microseconds of CPU per call.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable

from harness.dist import THREADS, connect
from harness.etf import Atom, Term


def spread_threads(run: Callable[[int], None], count: int) -> None:
    if count == 1:
        run(0)
        return
    workers = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def spread_greenlets(run: Callable[[int], None], count: int) -> None:
    import gevent

    gevent.joinall([gevent.spawn(run, index) for index in range(count)], raise_error=True)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    address, peer, cookie, runtime, kind, concurrency, module, function, argument, milliseconds, slices = sys.argv[1:]
    if runtime == "greenlets":
        from harness.load.greenlets import GREENLETS

        waits, spread = GREENLETS, spread_greenlets
    else:
        waits, spread = THREADS, spread_threads
    link = connect(peer, host=address, cookie=cookie, runtime=waits, local=f"bench-{runtime}@harness", ticktime=8.0)
    call = getattr(link, kind)
    args: list[Term] = [(Atom("bench"), 1, b"twenty bytes of value") if argument == "row" else int(argument)]
    count = int(concurrency)
    done = [0] * count

    def run(index: int) -> None:
        calls = 0
        while time.monotonic() < end:
            call(module, function, args)
            calls += 1
        done[index] = calls

    rate, cost = 0.0, float("inf")
    for _ in range(int(slices)):
        before, began = cpu(), time.monotonic()
        end = began + int(milliseconds) / 1000
        spread(run, count)
        rate = max(rate, sum(done) / (time.monotonic() - began))
        cost = min(cost, (cpu() - before) / sum(done))
    print(rate, cost * 1e6)
    link.close()


if __name__ == "__main__":
    main()
