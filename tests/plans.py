"""Plans for tests that need one and do not read a scenario."""

from __future__ import annotations

from typing import Any

from harness.scenario.plan import Plan

NAMES = ("n1", "n2", "n3")


def three_nodes(**changes: Any) -> Plan:
    """Three nodes, a majority table ``kv`` on all of them, written in two contexts, one cut n1 | n2 n3."""
    plan: dict[str, Any] = {
        "name": "unit",
        "description": "",
        "seed": 1,
        "nodes": [
            {"name": n, "node_name": f"{n}@{n}", "host": n, "image": "", "otp": 27, "memory": 2**28} for n in NAMES
        ],
        "kernel": {"net_ticktime": 4},
        "tables": [{"name": "kv", "copies": dict.fromkeys(NAMES, "ram_copies"), "majority": True}],
        "mnesia": True,
        "setup": [],
        "load": {
            "workers": 1, "users": 1, "rate": None, "locustfile": None, "timeout": 5.0, "value_size": 8,
            "max_rows": 1000, "ramp": 0.0,
            "operations": [
                {"name": f"write kv {context}", "kind": "write", "weight": 1, "on": NAMES, "table": "kv",
                 "context": context}
                for context in ("transaction", "async_dirty")
            ],
        },
        "timeline": [
            {"id": "s1", "name": "", "kind": "partition", "at": 1.0, "lasts": 1.0,
             "action": {"groups": [["n1"], ["n2", "n3"]]}},
        ],
        "duration": 5.0,
        "quiesce": 5.0,
        "expectations": [],
    }  # fmt: skip
    return Plan.model_validate(plan | changes)
