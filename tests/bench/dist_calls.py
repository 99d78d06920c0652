"""Calls a second over distribution, one connection: ours beside a native Erlang client and a C client.

    python -m tests.bench.dist_calls [--otp 27] [--rounds 5] [--only rpc:1:abs]

One server; the clients in turn, interleaved, on the same cores: with one call at a time everything shares one core,
with fifty the server has one and the client the other. The C client stands on OTP's erl_interface (erlang-dev).
Prints the best slice of each: calls a second, the client's CPU per call, and the ratios that are goals.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.dist import Connection
from harness.etf import Atom
from tests.bench.native import load_module
from tests.integration.images import erlang_image
from tests.nodes import COOKIE, ErlangNode, erlang_nodes

# The native client: K processes that call until the time is over; the number of calls is the answer.
NATIVE = """
-module(dist_bench).
-export([run/4, run/6, setup/0, transaction/1, best/8]).
run(Kind, Node, K, Milliseconds) -> run(Kind, Node, K, Milliseconds, {erlang, abs}, -3).
run(Kind, Node, K, Milliseconds, {M, F}, Arg) ->
    End = erlang:monotonic_time(millisecond) + Milliseconds,
    Self = self(),
    Pids = [spawn_link(fun() -> Self ! {self(), loop(Kind, Node, End, M, F, [Arg], 0)} end) || _ <- lists:seq(1, K)],
    lists:sum([receive {Pid, N} -> N end || Pid <- Pids]).
best(Kind, Node, K, Milliseconds, Slices, M, F, Arg) ->
    lists:max([timed(Kind, Node, K, Milliseconds, M, F, Arg) || _ <- lists:seq(1, Slices)]).
timed(Kind, Node, K, Milliseconds, M, F, Arg) ->
    Began = erlang:monotonic_time(microsecond),
    N = run(Kind, Node, K, Milliseconds, {M, F}, Arg),
    N * 1.0e6 / (erlang:monotonic_time(microsecond) - Began).
loop(Kind, Node, End, M, F, Args, N) ->
    case erlang:monotonic_time(millisecond) < End of
        true -> case Kind:call(Node, M, F, Args) of {badrpc, R} -> exit(R); _ -> ok end,
                loop(Kind, Node, End, M, F, Args, N + 1);
        false -> N
    end.
setup() ->
    mnesia:start(),
    {atomic, ok} = mnesia:create_table(bench, [{ram_copies, [node()]}]),
    mnesia:wait_for_tables([bench], 5000).
transaction(Row) -> mnesia:transaction(fun() -> mnesia:write(Row) end).
"""

ROW = (Atom("bench"), 1, b"twenty bytes of value")
LOADS: dict[str, tuple[str, str, str]] = {
    "abs": ("erlang", "abs", "-3"),
    "dirty_write": ("mnesia", "dirty_write", "row"),
    "transaction": ("dist_bench", "transaction", "row"),
}
CASES = (  # (kind, at once, load)
    ("rpc", 1, "abs"), ("rpc", 1, "dirty_write"), ("rpc", 1, "transaction"), ("erpc", 1, "abs"),
    ("rpc", 50, "abs"), ("rpc", 50, "dirty_write"), ("rpc", 50, "transaction"),
    ("erpc", 50, "abs"), ("erpc", 50, "dirty_write"), ("erpc", 50, "transaction"),
)  # fmt: skip


@dataclass
class Best:
    """The best of a client's slices: calls a second, microseconds of CPU per call."""

    rate: float = 0.0
    cpu: float = float("inf")

    def take(self, rate: float, cpu: float = float("inf")) -> None:
        self.rate = max(self.rate, rate)
        self.cpu = min(self.cpu, cpu)


@dataclass
class Ground:
    server: ErlangNode
    native: ErlangNode
    control: Connection  # to the native client
    c_client: Path | None
    cores: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    def pin(self, at_once: int) -> int:
        """Put the containers where they belong; returns the core of the client."""
        core = self.cores[0] if at_once == 1 else self.cores[-1]
        self.server.container.update(cpuset_cpus=str(self.cores[0]))
        self.native.container.update(cpuset_cpus=str(core))
        return core


def build_c_client(folder: Path) -> Path | None:
    """dist_client.c, compiled here; None (and said why) where there is no compiler or no erl_interface."""
    client = folder / "dist_client"
    source = Path(__file__).with_name("dist_client.c")
    command = ["gcc", "-O2", "-o", str(client), str(source), "-pthread", "-lei"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        print("no C client: install gcc and erlang-dev")
        return None
    if done.returncode:
        print("no C client: install erlang-dev; gcc said:", done.stderr.strip())
        return None
    return client


def prepare(link: Connection) -> None:
    """The table that LOADS write to."""
    load_module(link, NATIVE)
    link.rpc("dist_bench", "setup", timeout=30)
    link.close()


def slices(at_once: int) -> tuple[int, int]:
    """Milliseconds of a slice, slices in a round: short ones, to find a quiet moment of the machine."""
    return (100, 10) if at_once == 1 else (500, 2)


def run_native(ground: Ground, kind: str, at_once: int, load: str) -> float:
    module, function, argument = LOADS[load]
    value: Any = ROW if argument == "row" else int(argument)
    args = [
        Atom(kind), Atom(ground.server.name), at_once, *slices(at_once), Atom(module), Atom(function), value
    ]  # fmt: skip
    return float(ground.control.rpc("dist_bench", "best", args, timeout=60))


def run_pinned(core: int, command: list[str]) -> tuple[float, float]:
    done = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: exit {done.returncode}: {done.stderr}")
    rate, cpu = map(float, done.stdout.split())
    return rate, cpu


def measure(ground: Ground, kind: str, at_once: int, load: str, rounds: int) -> dict[str, Best]:
    core = ground.pin(at_once)
    server = ground.server
    where = [server.address, server.name, COOKIE]
    work = [*LOADS[load], *map(str, slices(at_once))]
    best: dict[str, Best] = {}
    for _ in range(rounds):
        best.setdefault("native", Best()).take(run_native(ground, kind, at_once, load))
        if ground.c_client is not None and (kind, at_once) == ("rpc", 1):
            c_where = [server.address, server.host, COOKIE]  # ei_xconnect asks EPMD for the part before the @
            try:
                best.setdefault("C", Best()).take(*run_pinned(core, [str(ground.c_client), *c_where, *work]))
            except RuntimeError as error:
                print("no figures for C:", error)
                ground.c_client = None
                del best["C"]
        for runtime in ("threads", "greenlets"):
            command = [sys.executable, "-m", "tests.bench.dist_client", *where, runtime, kind, str(at_once), *work]
            best.setdefault(runtime, Best()).take(*run_pinned(core, command))
    return best


def show(kind: str, at_once: int, load: str, best: dict[str, Best]) -> None:
    native, c = best["native"], best.get("C")
    for client, found in best.items():
        cpu = f"{found.cpu:6.1f} us" if found.cpu != float("inf") else " " * 9
        beside = f"{found.rate / native.rate:5.2f} of native"
        if c is not None:
            beside += f"  {found.rate / c.rate:5.2f} of C"
            beside += f"  {found.cpu / c.cpu:5.2f} x C's CPU" if found.cpu != float("inf") else ""
        print(f"{kind:5}{at_once:3}  {load:12} {client:10} {found.rate:8.0f}/s {cpu} {beside}", flush=True)


def show_goals(found: dict[tuple[str, int, str], dict[str, Best]]) -> None:
    """Every goal, for every load and both runtimes. Load runs on greenlets, everything else on threads."""
    print(f"\n{'':52}{'goal':>9}{'threads':>10}{'greenlets':>11}")
    for (kind, at_once, load), best in found.items():
        ours = [best[runtime] for runtime in ("threads", "greenlets")]
        rows: list[tuple[str, str, list[float]]] = []
        if at_once > 1:
            goal = {"rpc": ">= 1.15", "erpc": ">= 0.95"}[kind]
            rows.append((f"{at_once} at once, against native", goal, [one.rate / best["native"].rate for one in ours]))
        elif "C" in best:
            c = best["C"]
            rows.append(("one at a time, against C", ">= 0.80", [one.rate / c.rate for one in ours]))
            rows.append(("client's CPU per call, against C", "<= 1.50", [one.cpu / c.cpu for one in ours]))
        for words, goal, (threads, greenlets) in rows:
            print(f"{kind:5}{load:12} {words:34}{goal:>9}{threads:10.2f}{greenlets:11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--otp", type=int, default=27)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="KIND:AT_ONCE:LOAD, as rpc:1:abs", action="append")
    options = parser.parse_args()
    with erlang_nodes(erlang_image) as start, tempfile.TemporaryDirectory() as folder:
        server, native = (start(options.otp, "+S", "1:1") for _ in range(2))  # each is to have one core
        control = native.connect(local="bench-control@harness")
        load_module(control, NATIVE)
        prepare(server.connect(local="bench-control@harness"))
        c_client = build_c_client(Path(folder))
        ground = Ground(server, native, control, c_client)
        found = {}
        for case in CASES:
            if options.only is None or ":".join(map(str, case)) in options.only:
                found[case] = measure(ground, *case, options.rounds)
                show(*case, found[case])
        show_goals(found)
        control.close()


if __name__ == "__main__":
    main()
