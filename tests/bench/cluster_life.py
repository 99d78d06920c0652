"""How long a cluster takes to come and go, and a cut to stand and to lift.

    python -m tests.bench.cluster_life [--rounds 3]

Images are cached. Prints the median of the rounds: ready is from the first call to the engine until every node answers,
the mesh is complete and tables are loaded; a cut's spread is from the first command until the rules stand on all nodes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from harness.bus import Bus
from harness.cluster.cluster import Cluster
from harness.cluster.engine import Engine, find_engine
from harness.etf import Atom
from harness.faults.inject import Injector
from harness.history import FaultRecord, JournalEvent
from harness.probes.install import MODULE, install
from harness.scenario.plan import Plan
from tests.plans import three_nodes


def plan_of(size: int) -> Plan:
    names = [f"n{i}" for i in range(1, size + 1)]
    changes: dict[str, Any] = {
        "nodes": [
            {"name": n, "node_name": f"{n}@{n}", "host": n, "image": "", "otp": 27, "memory": 2**28} for n in names
        ],
        "tables": [{"name": "kv", "copies": dict.fromkeys(names, "ram_copies"), "majority": True}],
        "load": three_nodes().load.model_dump() | {"operations": []},
        "timeline": [
            {"id": "cut", "name": "", "kind": "partition", "at": 0.0, "lasts": 1.0,
             "action": {"groups": [names[:1], names[1:]]}},
        ],
    }  # fmt: skip
    return three_nodes(**changes)


def life(engine: Engine, size: int, number: int) -> dict[str, float]:
    """One cluster: seconds to ready, spreads of one cut, seconds to nothing; ns between two looks of a lag watcher."""
    plan = plan_of(size)
    began = time.monotonic()
    cluster = Cluster.start(plan, "", f"bench{size}x{number}", engine, lambda _: None)
    found = {"ready_s": time.monotonic() - began}
    try:
        told: list[JournalEvent] = []
        injector = Injector(plan, cluster, told.append, Bus())
        injector.prepare()
        injector.start(time.monotonic_ns())
        injector.wait(30.0)
        for event in told:
            if isinstance(event, FaultRecord) and event.stage in ("bit", "healed"):
                found[f"{'cut' if event.stage == 'bit' else 'heal'}_ms"] = event.detail["spread_ns"] / 1e6
        install(cluster)
        looks = [int(str(cluster.nodes["n1"].rpc(MODULE, "resolution", [Atom("kv")]))) for _ in range(50)]
        found["lag_resolution_us"] = statistics.median(looks) / 1e3
    finally:
        began = time.monotonic()
        cluster.remove()
        found["teardown_s"] = time.monotonic() - began
    return found


def measure(rounds: int) -> dict[int, dict[str, float]]:
    """Cluster size -> figure -> median of the rounds."""
    engine = find_engine()
    found: dict[int, dict[str, float]] = {}
    for size in (3, 10):
        runs = [life(engine, size, number) for number in range(rounds)]
        found[size] = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    for size, figures in measure(parser.parse_args().rounds).items():
        print(f"{size:>2} nodes  " + "  ".join(f"{name} {value:.3g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
