"""The master's side, with workers and Locust played by the test."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from harness.load.channel import Channel
from harness.load.coordinator import Coordinator
from harness.load.worker import boot_id
from harness.scenario.model import RpcCall
from harness.scenario.plan import PlannedLoad, PlannedOperation


class Locust:
    """Remembers what is sent to workers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.users = {"a": 2, "b": 1, "c": 1}
        self.unheard: set[str] = set()
        self.unknown: set[str] = set()
        self.quits = 0

    def send(self, type: str, data: dict[str, Any], client_id: str) -> None:
        self.sent.append((client_id, type, data))

    def users_of(self, client_id: str) -> int:
        return self.users[client_id]

    def hears(self, client_id: str) -> bool:
        return client_id not in self.unheard | self.unknown

    def knows(self, client_id: str) -> bool:
        return client_id not in self.unknown

    def quit(self) -> None:
        self.quits += 1

    def to(self, client_id: str, type: str) -> list[dict[str, Any]]:
        return [data for to, kind, data in self.sent if (to, kind) == (client_id, type)]


class Table:
    """A coordinator between an owner and Locust."""

    def __init__(self, folder: Path, rate: float | None = 90.0) -> None:
        call = RpcCall(module="erlang", function="abs", args=(-1,))
        operation = PlannedOperation(name="abs", kind="rpc", weight=1, on=("n1", "n2", "n3"), call=call)
        load = PlannedLoad(
            workers=1, users=3, rate=rate, operations=(operation,), locustfile=None,
            timeout=1.0, value_size=1, max_rows=9, ramp=2.0,
        )  # fmt: skip
        near = [{"node": f"n{i}", "node_name": f"n{i}@n{i}", "host": "198.18.0.1", "port": 1} for i in (1, 2, 3)]
        job = {
            "load": load.model_dump(mode="json"), "targets": near, "seed": 1,
            "ticktime": 8, "tls": False, "workers": 1, "remote_workers": 1, "history": str(folder),
        }  # fmt: skip
        ours, theirs = socket.socketpair()
        self.owner = Channel(ours)
        self.locust = Locust()
        self.coordinator = Coordinator(Channel(theirs), job, self.locust)

    def hello(self, client_id: str, index: int, boot: str | None = None) -> None:
        self.coordinator.on_hello(client_id, {"index": index, "pid": 1, "boot": boot_id() if boot is None else boot})

    def ready(self, **workers: int) -> None:
        for client_id, index in workers.items():
            self.hello(client_id, index)
            self.coordinator.on_ready(client_id, {"problems": []})

    def heard(self, name: str) -> dict[str, Any]:
        """The next event of this name, as the owner hears it."""
        return next(m["detail"] for m in self.owner if m.get("name") == name)

    def told(self) -> list[str]:
        """What the owner was told since the last time, events by their names."""
        self.coordinator.on_event({"name": "until now", "detail": {}})
        return list(iter(lambda: self._next(), "until now"))

    def _next(self) -> str:
        message = next(self.owner)
        return str(message.get("name", message["type"]))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_a_worker_from_elsewhere_gets_no_file(table: Table, tmp_path: Path) -> None:
    table.hello("a", 1)
    table.hello("b", 0)
    (near,), (far,) = table.locust.to("a", "harness_plan"), table.locust.to("b", "harness_plan")
    assert (near["name"], near["segment"]) == ("w1", str(tmp_path / "ops-w1.seg"))
    assert (far["name"], far["index"], far["segment"]) == ("w2", 2, None)
    assert "cookie" not in near


def test_rate_is_split_by_the_users_that_are_there(table: Table) -> None:
    table.ready(a=1, b=0)
    assert table.coordinator.wait_ready()
    table.coordinator.spawned(3)
    told = [next(table.owner) for _ in range(3)]
    (first,), (second,) = table.locust.to("a", "harness_go"), table.locust.to("b", "harness_go")
    assert (first["placed"], second["placed"]) == (["n1", "n2"], ["n3"])
    assert (first["parts"], second["parts"]) == ({"n1": 1.0, "n2": 1.0}, {"n3": 1.0})
    assert [t["type"] for t in told] == ["event", "event", "full_load"]
    assert told[2]["time"] == first["begin"] + 2_000_000_000  # after the ramp
    table.hello("c", 0)
    assert table.locust.to("c", "harness_refused") == [{"cause": "load has begun"}]


def test_another_machines_clock_is_measured(table: Table) -> None:
    table.hello("b", 0, boot="another machine")
    for _ in range(10):
        asked = table.locust.to("b", "harness_clock")[-1]["asked"]
        table.coordinator.on_clock("b", {"asked": asked, "here": asked + 1_000_000_000})
    told = [next(table.owner) for _ in range(2)][1]
    assert told["name"] == "clock_offset"
    detail = told["detail"]
    assert abs(detail["offset_ns"] - 1_000_000_000) <= detail["error_ns"] + 1
    assert len(table.locust.to("b", "harness_clock")) == 10


def test_problems_figures_and_history_reach_the_owner(table: Table, tmp_path: Path) -> None:
    table.hello("b", 0)
    table.coordinator.on_ready("b", {"problems": ["w2: n1: connect: refused"]})
    table.coordinator.on_snapshot({"worker": "w2"})
    for part in (b"one", b"two"):
        table.coordinator.on_segment({"file": "../ops-w2.seg", "data": part})
    told = [next(table.owner) for _ in range(3)]
    assert told[1]["detail"]["cause"] == "w2: n1: connect: refused"
    assert told[2] == {"type": "snapshot", "snapshot": {"worker": "w2"}}
    assert (tmp_path / "ops-w2.seg").read_bytes() == b"onetwo"  # inside the folder, whatever it was called


def test_stop_waits_for_all_that_are_left(table: Table) -> None:
    table.coordinator.start()
    table.hello("a", 1)
    table.coordinator.on_ready("a", {"problems": []})
    table.coordinator.on_done("a")
    table.owner.send({"cmd": "stop", "timeout": 5.0})
    told = [message["type"] for message in iter(lambda: next(table.owner), {"type": "done"})]
    assert told == ["event"]
    assert table.locust.to("a", "harness_stop") == [{"timeout": 5.0}]
    assert not table.coordinator.wait_ready()


# --- workers that cannot be heard -------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1, 0], ids=["here", "elsewhere"])
def test_a_worker_that_stands_still_is_named_and_named_again_when_it_comes_back(table: Table, index: int) -> None:
    table.ready(a=index)
    table.coordinator.start()
    table.locust.unheard = {"a"}
    silent = table.heard("worker_silent")
    assert silent["cause"] == "no heartbeat"
    table.locust.unheard = set()
    assert table.heard("worker_returned") == {"worker": silent["worker"]}
    table.coordinator.on_done("a")
    table.coordinator.stop(60.0)  # which waits for it, as it is back


def test_nobody_waits_for_a_worker_that_stands_still(table: Table) -> None:
    table.ready(a=1)
    table.coordinator.start()
    table.locust.unheard = {"a"}
    table.heard("worker_silent")
    table.coordinator.stop(1e9)
    assert table.told() == ["done"]


def test_a_worker_elsewhere_that_leaves_is_lost(table: Table) -> None:
    table.ready(b=0)
    table.coordinator.start()
    table.locust.unknown = {"b"}
    assert table.heard("worker_lost") == {"worker": "w2", "cause": "it left"}


def test_the_place_of_a_worker_that_left_before_load_is_free(table: Table) -> None:
    table.ready(a=1, b=0)
    table.coordinator.start()
    table.locust.unknown = {"b"}
    table.heard("worker_lost")
    table.hello("c", 0)
    assert not table.locust.to("c", "harness_refused")
    (plan,) = table.locust.to("c", "harness_plan")
    assert plan["name"] == "w3", "its ids are its own"
    table.coordinator.on_ready("c", {"problems": []})
    assert table.coordinator.wait_ready()
    table.coordinator.spawned(3)
    assert table.heard("worker_joined")
    assert next(table.owner)["type"] == "full_load"
    assert not table.locust.to("b", "harness_go")


# --- Locust's web page ------------------------------------------------------------------------------------------------


def begun(table: Table) -> None:
    table.ready(a=1, b=0)
    table.coordinator.spawned(3)
    while next(table.owner)["type"] != "full_load":
        pass


def test_another_number_of_users_is_told(table: Table) -> None:
    begun(table)
    table.coordinator.spawned(3)  # Locust's own redistribution
    table.coordinator.spawned(1)
    assert table.heard("load_failed") == {"cause": "the number of users was changed to 1"}


def test_a_stop_in_the_page_is_told_and_one_for_want_of_workers_is_not_taken_for_it(tmp_path: Path) -> None:
    for unheard, told in ((set[str](), ["load_stopped"]), ({"a", "b"}, ["worker_silent", "worker_silent"])):
        table = Table(tmp_path)
        begun(table)
        table.locust.unheard = unheard
        table.coordinator.halted("web page")
        table.coordinator.halted("web page")
        assert table.told() == told


def test_our_own_end_is_no_stop(table: Table) -> None:
    begun(table)
    for client_id in "ab":
        table.coordinator.on_done(client_id)
    table.coordinator.stop(1.0)
    table.coordinator.halted("web page")
    table.coordinator.spawned(0)
    assert table.told() == ["done"]
