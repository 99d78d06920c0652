"""Terms decoded and encoded: ours, compiled and pure, beside Erlang's own, in turn on one core.

    python -m tests.bench.terms [--otp 27 25] [--core 0] [--rounds 7] [--seconds 0.2]

The term is a list of 1,000 tuples {integer, 20-byte binary, atom, float}. Prints the best round of each in microseconds
for the whole list, and Erlang's time divided by it: above 1 is faster than Erlang.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import harness.etf
from harness.dist import Connection
from harness.etf import Atom, Term, term_to_binary
from harness.etf.decode import decode as pure_decode
from harness.etf.encode import encode as pure_encode
from tests.bench.native import load_module
from tests.integration.images import erlang_image
from tests.nodes import erlang_nodes

# Nanoseconds that N times took. What is made is matched, so that no compiler leaves the call out.
NATIVE = """
-module(terms_bench).
-export([decode/2, encode/2]).
decode(Binary, N) -> timed(fun() -> [_ | _] = binary_to_term(Binary) end, N).
encode(Binary, N) ->
    Term = binary_to_term(Binary),
    timed(fun() -> <<131, _/binary>> = term_to_binary(Term) end, N).
timed(Once, N) ->
    Start = erlang:monotonic_time(nanosecond),
    repeat(Once, N),
    erlang:monotonic_time(nanosecond) - Start.
repeat(_, 0) -> ok;
repeat(Once, N) -> Once(), repeat(Once, N - 1).
"""

SAMPLE: Term = [(i * 1000, i.to_bytes(20, "big"), Atom(f"atom_{i % 20}"), i * 1.5) for i in range(1, 1001)]

Timed = Callable[[int], float]  # seconds that so many times took


def here(once: Callable[[], object]) -> Timed:
    def timed(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            once()
        return time.perf_counter() - started

    return timed


def there(link: Connection, function: str, raw: bytes) -> Timed:
    return lambda count: link.rpc("terms_bench", function, [raw, count], timeout=60) / 1e9


def best(clients: dict[str, Timed], rounds: int, seconds: float) -> dict[str, float]:
    """Seconds a time of each, the best of `rounds` rounds of about `seconds`; in turn: all have the same day."""
    counts = {name: max(1, int(seconds * 20 / timed(20))) for name, timed in clients.items()}
    found = dict.fromkeys(clients, float("inf"))
    for _ in range(rounds):
        for name, timed in clients.items():
            found[name] = min(found[name], timed(counts[name]) / counts[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--otp", type=int, nargs="+", default=[27, 25])
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    given = parser.parse_args()
    if not harness.etf.COMPILED:
        print("terms: the compiled decoder is not built here, or HARNESS_PURE is set")
    raw, whole = pure_encode(SAMPLE), term_to_binary(SAMPLE)
    ours: dict[str, dict[str, Timed]] = {
        "decode": {"ours": here(lambda: harness.etf.decode(raw)), "pure": here(lambda: pure_decode(raw))},
        "encode": {"ours": here(lambda: harness.etf.encode(SAMPLE)), "pure": here(lambda: pure_encode(SAMPLE))},
    }
    os.sched_setaffinity(0, {given.core})
    with erlang_nodes(erlang_image) as start:
        for otp in given.otp:
            node = start(otp)
            node.container.update(cpuset_cpus=str(given.core))
            link = node.connect()
            load_module(link, NATIVE)
            for direction, mine in ours.items():
                clients = {"erlang": there(link, direction, whole), **mine}
                for name, taken in (found := best(clients, given.rounds, given.seconds)).items():
                    ratio = found["erlang"] / taken
                    print(f"OTP {otp}  {direction}  {name:6} {taken * 1e6:8.1f} us  {ratio:5.2f}", flush=True)
            link.close()


if __name__ == "__main__":
    main()
