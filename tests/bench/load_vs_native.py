"""Operations a second that one load worker (one process, one core) gets through, beside a native Erlang client.

    python -m tests.bench.load_vs_native [--otp 27] [--seconds 5] [--rounds 3] [--users 50]

Both call erlang:abs(-3) on the same node over rex with as many at once, in turns. The worker's calls are recorded as in
any run: invocation on disk before each send, completion after, both histograms. Prints the best round of each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from harness.etf import Atom
from harness.history import OK
from harness.load.launch import LoadRun
from harness.load.worker import Endpoint
from harness.scenario.plan import Plan, PlannedLoad, PlannedNode, PlannedOperation
from harness.scenario.schema import Kernel, RpcCall
from harness.segments import merge_operations
from harness.store import RunDir
from tests.bench.dist_calls import load_native
from tests.integration.images import erlang_image
from tests.nodes import COOKIE, ErlangNode, erlang_nodes


def plan_of(node: ErlangNode, users: int, seconds: float) -> Plan:
    call = RpcCall(module="erlang", function="abs", args=(-3,))
    load = PlannedLoad(
        workers=1, users=users, rate=None, locustfile=None, timeout=5.0, value_size=0, max_rows=1, ramp=0.0,
        operations=(PlannedOperation(name="abs", kind="rpc", weight=1, on=("n1",), call=call),),
    )  # fmt: skip
    return Plan(
        name="bench", description="", seed=1, kernel=Kernel(net_ticktime=8), tables=(), mnesia=False, setup=(),
        nodes=(PlannedNode(name="n1", node_name=node.name, host=node.host, image="", otp=node.otp, memory=0),),
        load=load, timeline=(), duration=seconds, quiesce=0.0, expectations=(),
    )  # fmt: skip


def worker(node: ErlangNode, users: int, seconds: float) -> tuple[float, float]:
    """(operations a second, share of a core the worker used)."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(node, users, seconds)
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
    with erlang_nodes(erlang_image) as start:
        server, client = start(options.otp), start(options.otp)
        control = client.connect(local="bench-control@harness")
        load_native(control)
        native, ours, core = 0.0, 0.0, 0.0
        for _ in range(options.rounds):
            args = [Atom("rpc"), Atom(server.name), options.users, int(options.seconds * 1000)]
            native = max(native, control.rpc("dist_bench", "run", args, timeout=60) / options.seconds)
            ours, core = max((ours, core), worker(server, options.users, options.seconds))
        control.close()
    print(f"native Erlang client  {native:8.0f} calls/s       {options.users} processes")
    print(f"one load worker       {ours:8.0f} operations/s  {options.users} users, {core:.2f} of a core")
    print(f"ratio                 {ours / native:8.2f}")


if __name__ == "__main__":
    main()
