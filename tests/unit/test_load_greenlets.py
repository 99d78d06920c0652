"""How greenlets wait, wake and write; in a process of its own, as gevent keeps one hub per thread."""

from __future__ import annotations

import subprocess
import sys

CHECKS = """
import gevent
from harness.load.greenlets import GREENLETS

parker = GREENLETS.parker()
parker.unpark(); parker.unpark()
assert parker.park(0.01), "an unpark before the park is remembered"
assert not parker.park(0.01), "more than once is once"

order = []
def waiter(name, parker):
    order.append((name, parker.park(5.0)))
parkers = [GREENLETS.parker() for _ in range(3)]
waiting = [gevent.spawn(waiter, i, p) for i, p in enumerate(parkers)]
gevent.sleep(0)
for p in parkers: p.unpark()
gevent.joinall(waiting, timeout=5, raise_error=True)
assert order == [(0, True), (1, True), (2, True)], order

killed = gevent.spawn(waiter, "killed", parkers[0])
gevent.sleep(0)
parkers[0].unpark()           # its wake is already queued ...
killed.kill()                 # ... when it is killed
assert not parkers[1].park(0.01), "a late wake finds nobody"

batches, queue = [], []
def flush():
    if queue:
        batches.append(list(queue)); queue.clear()
    return len(batches) < 2
write = GREENLETS.writer(flush)
gevent.sleep(0)
def caller(n):
    queue.append(n); write()
gevent.joinall([gevent.spawn(caller, n) for n in range(5)])
gevent.sleep(0)
assert batches == [[0, 1, 2, 3, 4]], batches

lock = GREENLETS.lock()
assert lock.acquire(False) and not lock.acquire(False)
lock.release()
assert lock.acquire(False)
print("fine")
"""


def test_greenlets() -> None:
    done = subprocess.run([sys.executable, "-c", CHECKS], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "fine\n", done.stderr
