"""Operations a second that one load worker (one process, one core) gets through, beside a native Erlang client.

    python -m tests.bench.load_vs_native [--otp 27] [--seconds 5] [--rounds 3] [--users 50]

Both make the same call to the same node over rex with as many at once, in turns, on the same core; the node has another
(of two). The worker's calls are recorded as in any run: invocation on disk before each send, completion after, both
histograms. Prints the best round of each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from harness.etf import Atom
from harness.history import OK
from harness.load.launch import LoadRun
from harness.load.worker import Endpoint
from harness.scenario.model import RpcCall
from harness.scenario.plan import Plan, PlannedLoad, PlannedNode, PlannedOperation
from harness.scenario.schema import Kernel
from harness.scenario.values import from_term
from harness.segments import merge_operations
from harness.store import RunDir
from tests.bench.dist_calls import LOADS, NATIVE, ROW, prepare
from tests.bench.native import load_module
from tests.integration.images import erlang_image
from tests.nodes import COOKIE, ErlangNode, erlang_nodes


def plan_of(node: ErlangNode, users: int, seconds: float, call: RpcCall) -> Plan:
    load = PlannedLoad(
        workers=1, users=users, rate=None, locustfile=None, timeout=5.0, value_size=0, max_rows=1, ramp=0.0,
        operations=(PlannedOperation(name="bench", kind="rpc", weight=1, on=("n1",), call=call),),
    )  # fmt: skip
    return Plan(
        name="bench", description="", seed=1, kernel=Kernel(net_ticktime=8), tables=(), mnesia=False, setup=(),
        nodes=(PlannedNode(name="n1", node_name=node.name, host=node.host, image="", otp=node.otp, memory=0),),
        load=load, timeline=(), duration=seconds, quiesce=0.0, expectations=(),
    )  # fmt: skip


def worker(node: ErlangNode, users: int, seconds: float, call: RpcCall) -> tuple[float, float]:
    """(operations a second, share of a core the worker used)."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(node, users, seconds, call)
        rundir = RunDir.create(Path(folder), plan)
        snapshots: list[float] = []
        run = LoadRun(
            plan, [Endpoint("n1", node.name, node.address, 0)], COOKIE, rundir,
            on_snapshot=lambda snapshot: snapshots.append(snapshot["cpu_ratio"]),
        )  # fmt: skip
        try:
            run.start()
            began = run.wait_full_load()
            trouble = run.wait_trouble(seconds)
            if trouble is not None:
                raise trouble
        finally:
            run.stop()
            rundir.close()
        history = merge_operations(rundir.history)
        inside = (history.outcome == OK) & (history.end >= began) & (history.end < began + seconds * 1e9)
        return np.count_nonzero(inside) / seconds, max(snapshots, default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otp", type=int, default=27)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    first, *_, last = sorted(os.sched_getaffinity(0)) * 2
    os.sched_setaffinity(0, {last})  # the worker is a child of ours
    with erlang_nodes(erlang_image) as start:
        server, client = (start(options.otp, "+S", "1:1") for _ in range(2))
        server.container.update(cpuset_cpus=str(first))
        client.container.update(cpuset_cpus=str(last))
        prepare(server.connect(local="bench-control@harness"))
        control = client.connect(local="bench-control@harness")
        load_module(control, NATIVE)
        print(f"{'':12}{'native':>10}{'worker':>10}{'ratio':>7}   calls a second, {options.users} at once")
        for load, (module, function, argument) in LOADS.items():
            value = ROW if argument == "row" else int(argument)
            call = RpcCall(module=module, function=function, args=(from_term(value),))
            target = (Atom(module), Atom(function))
            args = [Atom("rpc"), Atom(server.name), options.users, int(options.seconds * 1000), target, value]
            native, ours = 0.0, (0.0, 0.0)
            for _ in range(options.rounds):
                native = max(native, control.rpc("dist_bench", "run", args, timeout=60) / options.seconds)
                ours = max(ours, worker(server, options.users, options.seconds, call))
            rate, core = ours
            print(f"{load:12}{native:10.0f}{rate:10.0f}{rate / native:7.2f}   {core:.2f} of a core", flush=True)
        control.close()


if __name__ == "__main__":
    main()
