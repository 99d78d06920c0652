"""The clock: what is journalled and in which order, whatever a fault does."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import ScriptedFault
from plans import NAMES, three_nodes

from harness.bus import Bus
from harness.errors import DiskFull, EnvironmentProblem, FaultUnsupported, HarnessError, HelperFailed
from harness.faults.inject import Injector
from harness.faults.registry import FAULTS
from harness.history import FaultRecord, JournalEvent, Observation
from harness.scenario.actions import ACTIONS
from harness.store import RunDir

WAIT = 120.0
GROUPS = {"groups": [["n1"], ["n2", "n3"]]}


def step(id: str, kind: str = "partition", **changes: Any) -> dict[str, Any]:
    only_n2 = {"nodes": ["n2"]}
    action = {"partition": GROUPS, "rpc": {"module": "m", "function": "f"}, "kill": only_n2, "pause": only_n2,
              "recover": {}}[kind]  # fmt: skip
    schedule = {} if "after" in changes else {"at": 0.0}
    return {"id": id, "name": "", "kind": kind, "action": action, **schedule, **changes}


class Stage:
    """An injector over scripted faults, and all that it journals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps: dict[str, Any], rundir: RunDir | None = None) -> None:
        self.bus = Bus()
        self.events: list[JournalEvent] = []
        self.full_after: int | None = None
        self.faults = {given["id"]: ScriptedFault() for given in steps}
        for kind in ("partition", "rpc"):
            monkeypatch.setitem(FAULTS, kind, lambda planned, _: self.faults[planned.id])
        plan = three_nodes(timeline=list(steps))
        nowhere: Any = SimpleNamespace(nodes={})  # scripted faults touch no cluster
        self.injector = Injector(plan, nowhere, self.journal, self.bus, rundir)

    def journal(self, event: JournalEvent) -> None:
        if self.full_after is not None and len(self.events) >= self.full_after:
            raise DiskFull("write run folder", "no space left")
        self.events.append(event)
        self.bus.publish(event)

    def start(self) -> None:
        self.injector.start(time.monotonic_ns())

    def run(self) -> None:
        self.start()
        assert self.injector.wait(WAIT)

    def until(self, id: str, stage: str) -> None:
        assert self.bus.wait_for(lambda e: isinstance(e, FaultRecord) and (e.step, e.stage) == (id, stage), WAIT)

    def told(self, id: str) -> list[str]:
        return [e.stage for e in self.records(id)]

    def records(self, id: str) -> list[FaultRecord]:
        return [e for e in self.events if isinstance(e, FaultRecord) and e.step == id]

    def detail(self, id: str, stage: str) -> Any:
        return next(e.detail for e in self.records(id) if e.stage == stage)


WHOLE = ["planned", "injecting", "bit", "healing", "healed"]


def test_life_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0))
    stage.run()
    assert stage.told("a") == WHOLE
    assert stage.faults["a"].verbs == ["inject", "bit", "heal", "healed"]
    assert stage.records("a")[2].time == 17, "a bite is dated by when it took effect"
    assert stage.detail("a", "bit")["seen"] == "bite"
    assert stage.detail("a", "bit")["proved_ns"] > stage.records("a")[1].time, "the proof comes later"
    assert stage.detail("a", "healing") == {"ended": "lasted"}


def test_what_acts_once_is_not_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", "rpc"))
    stage.run()
    assert stage.told("a") == ["planned", "injecting", "bit"]
    assert "heal" not in stage.faults["a"].verbs


def test_everything_is_planned_before_anything_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0), step("b", after="a", lasts=0.0))
    stage.run()
    assert [(e.step, e.stage) for e in stage.events[:2] if isinstance(e, FaultRecord)] == [
        ("a", "planned"), ("b", "planned"),
    ]  # fmt: skip


def test_after_starts_when_its_step_has_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("b", "rpc", after="a", delay=0.01), step("a", lasts=0.0))
    stage.run()
    order = [(e.step, e.stage) for e in stage.events if isinstance(e, FaultRecord)]
    assert order.index(("a", "healed")) < order.index(("b", "injecting"))


@pytest.mark.parametrize("verb", ["inject", "bit"])
@pytest.mark.parametrize("error", [HarnessError("cut", "helper is gone", node="n1"), ZeroDivisionError("a defect")])
def test_a_failure_is_told_and_still_healed(monkeypatch: pytest.MonkeyPatch, verb: str, error: Exception) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0), step("b", after="a", lasts=0.0))
    stage.faults["a"].raises = {verb: error}
    stage.run()
    assert stage.told("a") == ["planned", "injecting", "failed", "healing", "healed"]
    assert str(error) in stage.detail("a", "failed")["error"]
    assert stage.told("b") == WHOLE, "the run goes on"


def test_a_fault_that_does_not_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0), step("b", lasts=0.0))
    stage.faults["a"].raises = {"heal": HarnessError("heal", "helper is gone")}
    stage.faults["b"].heals = False
    stage.run()
    assert stage.told("a")[-1] == stage.told("b")[-1] == "not_healed"
    assert stage.injector.heal_all() == ("a",)
    assert stage.faults["a"].verbs.count("heal") == 2, "tried again on the way out"


def test_a_fault_that_does_not_bite(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0))
    stage.faults["a"].bites = False
    stage.run()
    assert stage.told("a") == ["planned", "injecting", "not_bitten", "healing", "healed"]


def test_stop_ends_what_lasts_and_skips_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    late = (step("b", at=3600.0, lasts=1.0), step("c", after="a", lasts=1.0), step("d", after="c", lasts=1.0))
    stage = Stage(monkeypatch, step("a"), *late)
    stage.start()
    stage.until("a", "bit")
    assert stage.injector.stop(WAIT)
    assert stage.told("a") == WHOLE
    assert stage.detail("a", "healing") == {"ended": "load ended"}
    assert stage.told("b") == stage.told("c") == stage.told("d") == ["planned", "skipped"]


def test_until_detected_waits_for_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", until={"event": "detected", "timeout": "60s"}))
    stage.bus.publish(Observation(time.monotonic_ns(), "n1", "nodedown", "n2"))
    stage.bus.publish(Observation(time.monotonic_ns(), "n1", "nodeup", "n2"))
    stage.start()
    stage.until("a", "bit")
    now = time.monotonic_ns()
    stage.bus.publish(Observation(now, "n1", "nodeup", "n2"))
    stage.bus.publish(Observation(now, "n2@n2", "nodedown", "n1@n1"))
    assert stage.told("a")[-1] == "bit", "one side has not noticed; what was seen before does not count"
    stage.bus.publish(Observation(now, "n1", "nodedown", "n2"))
    assert stage.injector.wait(WAIT)
    assert stage.detail("a", "healing") == {"ended": "event"}


def test_until_detected_passes_over_who_was_apart_before(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", until={"event": "detected", "timeout": "60s"}))
    for observer, peer in (("n1", "n2"), ("n2", "n1")):
        stage.bus.publish(Observation(time.monotonic_ns(), observer, "nodedown", peer))
    stage.run()
    assert stage.detail("a", "healing") == {"ended": "event"}


def test_until_an_event_on_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", until={"event": "mnesia_down", "node": "n3", "timeout": "60s"}))
    stage.start()
    stage.until("a", "bit")
    stage.bus.publish(Observation(time.monotonic_ns(), "n2", "mnesia_down", "n1"))
    stage.bus.publish(Observation(time.monotonic_ns(), "n3", "mnesia_down", "n1"))
    assert stage.injector.wait(WAIT)
    assert stage.detail("a", "healing") == {"ended": "event"}


def test_until_gives_up_and_load_can_end_before(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(
        monkeypatch,
        step("a", until={"event": "detected", "timeout": "20ms"}),
        step("b", until={"event": "detected", "timeout": "1h"}),
    )
    stage.start()
    stage.until("a", "healed")
    assert stage.detail("a", "healing") == {"ended": "timeout"}
    stage.until("b", "bit")
    assert stage.injector.stop(WAIT)
    assert stage.detail("b", "healing") == {"ended": "load ended"}


def test_heal_all_from_any_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a"), step("b"), step("c", at=3600.0))
    stage.faults["b"].raises = {"heal": HarnessError("heal", "helper is gone")}
    stage.start()
    stage.until("a", "bit")
    stage.until("b", "bit")
    assert stage.injector.heal_all() == ("b",)
    assert stage.faults["a"].verbs.count("heal") == 1
    told = len(stage.events)
    assert stage.injector.heal_all() == ("b",)
    assert stage.faults["a"].verbs.count("heal") == 1, "healed once"
    assert len(stage.events) == told, "the journal may be closed by now"


NO_RULES = HelperFailed("helper command `nft`", "Error: Could not process rule: Operation not supported", node="n2")
NO_FREEZER = EnvironmentProblem("pause", "cannot pause container: cgroups not available", node="n2")
NO_SIGNALS = EnvironmentProblem("signal", "permission denied", node="n2")


@pytest.mark.parametrize(
    ("kind", "lacks", "said", "remedy"),
    [
        (
            "partition",
            {"run": NO_RULES},
            "Error: Could not process rule: Operation not supported",
            "modprobe nf_tables",
        ),
        ("pause", {"try_pause": NO_FREEZER}, "cannot pause container: cgroups not available", "cgroup v2"),
        ("kill", {"try_kill": NO_SIGNALS}, "permission denied", "docker kill"),
        ("kill", {"run": NO_RULES, "try_pause": NO_FREEZER}, "", ""),
        ("pause", {"run": NO_RULES, "try_kill": NO_SIGNALS}, "", ""),
        ("rpc", {"run": NO_RULES, "try_pause": NO_FREEZER, "try_kill": NO_SIGNALS}, "", ""),
        ("recover", {"run": NO_RULES, "try_pause": NO_FREEZER, "try_kill": NO_SIGNALS}, "", ""),
    ],
)
def test_what_a_fault_needs_is_tried_before_there_is_load(
    kind: str, lacks: dict[str, Exception], said: str, remedy: str
) -> None:
    def node(name: str) -> SimpleNamespace:
        def trial(verb: str) -> Any:
            def act(*_: Any, **__: Any) -> str:
                if name == "n2" and verb in lacks:
                    raise lacks[verb]
                return ""

            return act

        helper = SimpleNamespace(run=trial("run"))
        return SimpleNamespace(node_name=name, helper=helper, try_kill=trial("try_kill"), try_pause=trial("try_pause"))

    cluster: Any = SimpleNamespace(nodes={name: node(name) for name in NAMES})
    events: list[JournalEvent] = []
    injector = Injector(three_nodes(timeline=[step("a", kind), step("b", kind)]), cluster, events.append, Bus())
    if said:
        with pytest.raises(FaultUnsupported) as refused:
            injector.prepare()
        assert refused.value.exit_code == 4
        assert str(refused.value).startswith(f"n2: prepare {kind}: {said}")
        assert remedy in refused.value.remedy
    else:
        injector.prepare()
    assert not events


def test_a_step_that_is_repeated_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a"), step("b"), step("c", "rpc"))
    stage.injector.prepare()
    assert sorted(verb for fault in stage.faults.values() for verb in fault.verbs) == ["prepare", "prepare"]


def test_heal_all_before_anything_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stage(monkeypatch, step("a")).injector.heal_all() == ()


def test_healing_waits_for_an_injection_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a"))
    fault = stage.faults["a"]
    fault.may_inject.clear()
    stage.start()
    assert fault.injecting.wait(WAIT)
    assert stage.injector.heal_all(0.05) == ("a",), "time is up and it may be in force"
    fault.may_inject.set()
    assert stage.injector.wait(WAIT)
    assert fault.verbs[0] == "inject"
    assert fault.verbs.count("heal") == 1


def test_what_cannot_be_journalled_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0))
    stage.full_after = 1
    stage.run()
    assert stage.faults["a"].verbs == []
    assert isinstance(stage.injector.trouble, DiskFull)


def test_a_disk_that_fills_up_during_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, step("a", lasts=0.0))
    stage.full_after = 2
    stage.run()
    assert stage.faults["a"].verbs == ["inject", "bit", "heal", "healed"]


def test_discarded_ids_are_kept_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rundir = RunDir.create(tmp_path, three_nodes())
    stage = Stage(monkeypatch, rundir=rundir)
    stage.injector._discard("kv", np.array([3, 2**63], dtype=np.uint64))
    stage.injector._discard("kv", np.array([1, 3], dtype=np.uint64))
    assert stage.injector.discarded["kv"].tolist() == [1, 3, 2**63]
    assert np.fromfile(rundir.final / "discarded-kv.u64", dtype="<u8").tolist() == [1, 3, 2**63]
    rundir.close()


def test_every_action_of_a_scenario_has_its_fault() -> None:
    assert FAULTS.keys() == ACTIONS.keys()
