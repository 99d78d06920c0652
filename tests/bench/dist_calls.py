"""Calls a second over distribution: ours beside a native Erlang client, interleaved, on one server.

    python -m tests.bench.dist_calls [--otp 27] [--seconds 2] [--rounds 3]

Prints one line per client, kind of call and concurrency: the best round, and its ratio to the native client's.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable

from harness.dist import Connection
from harness.etf import Atom
from tests.integration.images import erlang_image
from tests.nodes import ErlangNode, erlang_nodes

# The native client: K processes that call until the time is over; the number of calls is the answer.
NATIVE = """
-module(dist_bench).
-export([run/4]).
run(Kind, Node, K, Milliseconds) ->
    End = erlang:monotonic_time(millisecond) + Milliseconds,
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), loop(Kind, Node, End, 0)} end) || _ <- lists:seq(1, K)],
    lists:sum([receive {Pid, N} -> N end || Pid <- Pids]).
loop(Kind, Node, End, N) ->
    case erlang:monotonic_time(millisecond) < End of
        true -> 3 = Kind:call(Node, erlang, abs, [-3]), loop(Kind, Node, End, N + 1);
        false -> N
    end.
"""


def load_native(link: Connection) -> None:
    """Compile NATIVE on the node itself."""
    forms = []
    for text in NATIVE.strip().split(".\n"):
        tokens = link.rpc("erl_scan", "string", [list(f"{text.rstrip('.')}.".encode())])[1]
        forms.append(link.rpc("erl_parse", "parse_form", [tokens])[1])
    _ok, module, beam = link.rpc("compile", "forms", [forms], timeout=30)
    link.rpc("code", "load_binary", [module, list(b"dist_bench"), beam])


def threads(call: Callable[[], object], count: int, seconds: float) -> float:
    """Calls a second of `count` threads."""
    done = [0] * count
    started = time.monotonic()
    end = started + seconds

    def run(index: int) -> None:
        while time.monotonic() < end:
            call()
            done[index] += 1

    workers = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.monotonic() - started)


def greenlets(node: ErlangNode, kind: str, count: int, seconds: float) -> float:
    """Calls a second of `count` greenlets on one connection, as in a load worker."""
    import gevent

    from harness.load.greenlets import GREENLETS

    link = node.connect(runtime=GREENLETS, local="bench-greenlets@harness")
    call = getattr(link, kind)
    done = [0] * count
    started = time.monotonic()
    end = started + seconds

    def run(index: int) -> None:
        while time.monotonic() < end:
            call("erlang", "abs", [-3])
            done[index] += 1

    gevent.joinall([gevent.spawn(run, index) for index in range(count)], raise_error=True)
    link.close()
    return sum(done) / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otp", type=int, default=27)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with erlang_nodes(erlang_image) as start:
        server, native = start(options.otp), start(options.otp)
        link, control = server.connect(), native.connect(local="bench-control@harness")
        load_native(control)
        for kind in ("rpc", "erpc"):
            call = getattr(link, kind)
            for count in (1, 50):
                best = dict.fromkeys(("native", "threads", "greenlets"), 0.0)
                for _ in range(options.rounds):
                    args = [Atom(kind), Atom(server.name), count, int(options.seconds * 1000)]
                    calls = control.rpc("dist_bench", "run", args, timeout=60) / options.seconds
                    best["native"] = max(best["native"], calls)
                    ours = threads(lambda call=call: call("erlang", "abs", [-3]), count, options.seconds)
                    best["threads"] = max(best["threads"], ours)
                    best["greenlets"] = max(best["greenlets"], greenlets(server, kind, count, options.seconds))
                for client, rate in best.items():
                    print(f"{kind:5} {count:3} at once  {client:10} {rate:8.0f} calls/s  {rate / best['native']:.2f}")
        link.close()
        control.close()


if __name__ == "__main__":
    main()
