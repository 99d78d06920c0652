"""Events of a run as lines for people."""

from __future__ import annotations

from typing import Any, Final

from harness.checkers.windows import step_name
from harness.checkers.words import duration, printable
from harness.history import FaultRecord, Mark, Observation
from harness.scenario.actions import Partition
from harness.scenario.plan import Plan

_MANY: Final = 5  # nodes from which on every single nodeup would be noise
_STAGES: Final = {
    "injecting": "begins",
    "bit": "is in force",
    "not_bitten": "was NOT seen to bite",
    "healing": "is being healed",
    "healed": "is healed",
    "not_healed": "was NOT seen healed",
    "skipped": "was skipped",
    "failed": "FAILED",
}
_PHASES: Final = {
    "starting": "starting the cluster",
    "baseline": "checking that the cluster is steady",
    "ramping": "starting load",
    "load": "full load",
    "stopping": "stopping load",
    "quiesce": "waiting for the cluster to converge, reading every copy",
    "judging": "judging",
}
_ALARMING: Final = frozenset({"not_bitten", "not_healed", "failed"})


def line(event: Any, plan: Plan) -> tuple[str, str] | None:
    """(style, text) of an event worth a line; styles as in ``harness.report.told``. None for all others."""
    match event:
        case FaultRecord() if event.stage in _STAGES:
            return _fault(event, plan)
        case Observation():
            return _observed(event, plan)
        case Mark(name="phase"):
            return "strong", _PHASES.get(str(event.detail.get("phase")), printable(str(event.detail.get("phase"))))
        case Mark(
            name="worker_lost" | "worker_silent" | "worker_returned" | "load_failed" | "load_stopped" | "renewal_missed"
        ):
            told = ", ".join(f"{key} {value}" for key, value in event.detail.items())
            return "unknown", printable(f"{event.name.replace('_', ' ')}: {told}")
    return None


def recovered(record: FaultRecord) -> str:
    """What a recovery that is done did: ``n1 restarted with the copies of n2, n3; 12 writes of kv discarded``."""
    told = record.detail
    if not told.get("losers"):
        return str(told.get("nothing_to_do", "nothing"))
    discarded = {table: int(dropped.get("count", 0)) for table, dropped in dict(told.get("discarded", {})).items()}
    counts = [f"{n:,} write{'s' * (n != 1)} of {table}" for table, n in discarded.items() if n]
    if unlisted := told.get("not_listed"):
        counts.append(f"of {', '.join(f'{table} on {node}' for node, table, *_ in unlisted)} nobody knows how many")
    dropped = f"{' and '.join(counts)} discarded" if counts else "no write discarded"
    winners = ", ".join(map(str, told.get("winners", ())))
    return f"{', '.join(map(str, told['losers']))} restarted with the copies of {winners}; {dropped}"


def involved(step: str, targets: tuple[str, ...], plan: Plan) -> str:
    """``n1 | n2 n3`` for a partition, else the nodes."""
    action = next((s.action for s in plan.timeline if s.id == step), None)
    if isinstance(action, Partition):
        return " | ".join(" ".join(group) for group in action.groups)
    return " ".join(targets)


def _fault(record: FaultRecord, plan: Plan) -> tuple[str, str]:
    name = step_name(plan, record.step, record.kind)
    label = name if name.startswith(record.kind) else f"{name} ({record.kind})"
    stage = _STAGES[record.stage]
    if record.kind in ("recover", "rpc") and record.stage == "bit":
        stage = "is done"
    text = " ".join(filter(None, (label, involved(record.step, record.targets, plan), stage)))
    if record.kind == "recover" and record.stage == "bit":
        text += f": {recovered(record)}"
    cause = record.detail.get("error") or record.detail.get("reason")
    if cause and record.stage in ("failed", "skipped", "not_bitten", "not_healed"):
        text += f": {cause}"
    return ("unknown" if record.stage in _ALARMING else "plain"), printable(text)


def _observed(seen: Observation, plan: Plan) -> tuple[str, str] | None:
    few = len(plan.nodes) <= _MANY
    match seen.event:
        case "nodedown" if few:
            reason = seen.detail.get("reason", "")
            return "faint", printable(f"{seen.node} lost {seen.peer}" + (f" ({reason})" if reason else ""))
        case "nodeup" if few:
            return "faint", printable(f"{seen.node} is connected with {seen.peer} again")
        case "inconsistent_database":
            return "warn", printable(f"{seen.node}: inconsistent_database, {seen.peer} was running partitioned")
        case "backlog_zero":
            after = duration(float(seen.detail.get("seconds", 0.0)))
            table, peak = seen.detail.get("table", ""), int(seen.detail.get("peak", 0))
            behind = f"{after} after it fell behind" + (f", by {peak:,} probe writes at most" if peak else "")
            return "faint", printable(f"{seen.node} has caught up with {table} {behind}")
    return None
