"""Plans and scenarios as text: the timeline a person reads, the resolved scenario that a run keeps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from harness.scenario.actions import Kill, Partition, Pause, Recover, Rpc
from harness.scenario.expectations import CHECKS, LOWER
from harness.scenario.groups import components, cut_pairs, partial
from harness.scenario.json_schema import json_schema
from harness.scenario.plan import Expectation, Plan, PlannedStep
from harness.scenario.schema import Scenario
from harness.scenario.secrets import masked, masked_text
from harness.scenario.timeline import spans
from harness.scenario.units import WRITTEN

__all__ = ["json_schema", "render_plan", "resolved_yaml"]

_WIDTH = 48  # columns of the time axis
_ALWAYS = ("acked_lost", "replica_divergence", "dual_majority", "unreported_divergence")


# --- plan ---------------------------------------------------------------------------------------------------------


def render_plan(plan: Plan) -> str:
    """What a run will do and when. What depends on the run itself (ends of events, who is minority) stays symbolic."""
    lines = [f"{plan.name}: {masked_text(plan.description, plan.secrets)}" if plan.description else plan.name, ""]
    lines += _section("cluster", _cluster(plan))
    lines += _section("tables", _tables(plan))
    lines += _section("load", _load(plan))
    lines += _section("timeline", _timeline(plan))
    lines += _section("expect", _expect(plan))
    lines += [f"seed {plan.seed}; the same seed gives the same plan"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _section(title: str, body: Sequence[str]) -> list[str]:
    return [f"{title if number == 0 else '':<10}{line}" for number, line in enumerate(body)] + [""] if body else []


def _cluster(plan: Plan) -> list[str]:
    made: dict[str, list[str]] = {}
    for node in plan.nodes:
        image = node.image or f"example node on OTP {node.otp}{f' ({node.base})' if node.base else ''}"
        made.setdefault(image, []).append(node.node_name)
    ticktime, intensity = plan.kernel.net_ticktime, plan.kernel.net_tickintensity
    spread = ticktime / intensity
    lines = [f"{image}: {', '.join(names)}" for image, names in made.items()]
    lines += [
        f"net_ticktime {ticktime}s, intensity {intensity}: a silent cut is noticed "
        f"after {seconds(ticktime - spread)} to {seconds(ticktime + spread)}"
    ]
    if not plan.kernel.prevent_overlapping_partitions:
        lines += ["prevent_overlapping_partitions false: a partial cut evicts nobody"]
    if plan.tls:
        lines += ["distribution over TLS, with certificates made for the run"]
    return lines


def _tables(plan: Plan) -> list[str]:
    lines = []
    for table in plan.tables:
        by_storage: dict[str, list[str]] = {}
        for node, storage in table.copies.items():
            by_storage.setdefault(storage, []).append(node)
        placed = "; ".join(f"{storage} on {_names(nodes, plan)}" for storage, nodes in by_storage.items())
        lines.append(f"{table.name}: {placed}{', majority' if table.majority else ''}")
    return lines + [f"{name}: the release's own, only compared" for name in plan.observed_tables]


def _load(plan: Plan) -> list[str]:
    load = plan.load
    paced = f"{load.rate:g}/s, open loop" if load.rate is not None else "closed loop: as fast as answers come"
    workers = "1 worker" if load.workers == 1 else f"{load.workers} workers"
    ramp = f", full after {seconds(load.ramp)}" if load.ramp else ""
    lines = [f"{load.users} users in {workers}, {paced}{ramp}, for {seconds(plan.duration)}"]
    if load.locustfile:
        return [*lines, f"user classes of {load.locustfile}"]
    total = sum(operation.weight for operation in load.operations)
    width = max(len(operation.name) for operation in load.operations)
    for operation in load.operations:
        share = f"{100 * operation.weight / total:.0f}%"
        lines.append(f"{share:>4}  {operation.name:<{width}}  on {_names(operation.on, plan)}")
    return lines


def _timeline(plan: Plan) -> list[str]:
    times = spans(plan.timeline, plan.duration)
    shown = [(step, _when(step, times[step.id], plan)) for step in plan.timeline]
    labels = max((len(step.id) for step in plan.timeline), default=0)
    moments = max((len(when) for _, when in shown), default=0)
    lines = [f"{'':<{labels}}  {_axis(plan.duration)}  from full load; then up to {seconds(plan.quiesce)} to converge"]
    for step, when in shown:
        bar = _bar(step, times[step.id], plan.duration)
        lines.append(f"{step.id:<{labels}}  {bar}  {when:<{moments}}  {_action(step, plan)}")
    if not plan.timeline:
        lines.append("load only; nothing is broken")
    return lines


def _axis(duration: float) -> str:
    axis = [" "] * _WIDTH
    for quarter in range(4):
        at = quarter * _WIDTH // 4
        mark = seconds(duration * quarter / 4)
        axis[at : at + len(mark)] = mark
    end = seconds(duration)
    axis[_WIDTH - len(end) :] = end
    return "".join(axis[:_WIDTH])


def _bar(step: PlannedStep, span: tuple[float, float], duration: float) -> str:
    begin = min(_WIDTH - 1, int(span[0] / duration * _WIDTH))
    end = max(begin + 1, min(_WIDTH, round(span[1] / duration * _WIDTH)))
    bar = ["·"] * _WIDTH
    if not step.action.lasting:
        bar[begin] = "◆"
    elif step.until is not None:
        bar[begin : begin + 3] = "█▓░"[: _WIDTH - begin]
    else:
        bar[begin:end] = "█" * (end - begin)
    return "".join(bar)


def _when(step: PlannedStep, span: tuple[float, float], plan: Plan) -> str:
    if step.after:
        delay = f" + {seconds(step.delay)}" if step.delay else ""
        begin = f"after {step.after}{delay}"
    else:
        begin = seconds(span[0])
    if not step.action.lasting:
        return begin
    if step.until is not None:
        node = f" on {step.until.node}" if step.until.node else ""
        return f"{begin}, until {step.until.event}{node} (at most {seconds(step.until.timeout)})"
    if step.lasts is None:
        return f"{begin}, until load ends"
    return f"{begin}, for {seconds(step.lasts)}" if step.after else f"{begin} to {seconds(span[1])}"


def _action(step: PlannedStep, plan: Plan) -> str:
    action = step.action
    if isinstance(action, Partition):
        names = [node.name for node in plan.nodes]
        pairs = cut_pairs(action.groups, names)
        left = [name for name in names if all(name not in group for group in action.groups)]
        islands = components(names, pairs)
        told = " | ".join(" ".join(group) for group in action.groups)
        if left:
            told += f", {' '.join(left)} with everyone"
        if partial(names, pairs):
            return f"cut {told} (a partial cut)"
        return f"cut {told} ({len(islands)} islands)"
    if isinstance(action, Kill):
        again = "stays down" if step.lasts is None and step.until is None else "then start"
        return f"SIGKILL {' '.join(action.nodes)}, {again}"
    if isinstance(action, Pause):
        return f"freeze {' '.join(action.nodes)}"
    if isinstance(action, Recover):
        if action.mnesia == "restart_minority":
            return "recover Mnesia: restart <minority of the cut>"
        masters = " ".join(action.masters) or "<majority of the cut>"
        return f"recover Mnesia: masters {masters}, restart the others"
    if isinstance(action, Rpc):
        on = "all" if action.on == "all" else " ".join(action.on)
        return f"call {action.module}:{action.function}/{len(action.args)} on {on}"
    return action.kind


def _expect(plan: Plan) -> list[str]:
    said = {expectation.check for expectation in plan.expectations}
    lines = [_expectation(expectation) for expectation in plan.expectations]
    lines += [
        f"{answer.call.module}:{answer.call.function}/{len(answer.call.args)} "
        f"on {answer.on if isinstance(answer.on, str) else ' '.join(answer.on)} "
        f"returns {masked(answer.returns, plan.secrets, free=True)}"
        for answer in plan.expected_answers
    ]
    always = [check for check in _ALWAYS if check not in said] if plan.mnesia else []
    if always:
        lines.append(f"none of: {', '.join(always)}")
    if plan.expect_failure:
        lines.append(f"to fail: {', '.join(plan.expect_failure)}")
    return lines


def _expectation(expectation: Expectation) -> str:
    limit = expectation.limit
    if limit.off:
        return f"{expectation.check}: off"
    short = limit.min is None and not limit.phase and limit.severity == "fail" and limit.limit is not None
    if short and expectation.check not in LOWER:
        return f"{expectation.check}: at most {expectation.text}"
    return f"{expectation.check}: {expectation.text} ({CHECKS[expectation.check][1]})"


def _names(nodes: Sequence[str], plan: Plan) -> str:
    return "all" if len(nodes) == len(plan.nodes) else " ".join(nodes)


def seconds(value: float) -> str:
    """``10s``, ``2.5s``, ``0s``."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


# --- scenario -----------------------------------------------------------------------------------------------------


def resolved_yaml(scenario: Scenario) -> str:
    """The scenario with every default and every ``${NAME}`` filled in, secrets masked; ``load_scenario`` reads it."""
    data = scenario.model_dump(mode="json", by_alias=True, exclude_none=True, context=WRITTEN)
    data = masked(data, scenario.secrets)
    _terse(data["load"]["operations"])
    _terse(data["timeline"])
    yaml = YAML(pure=True)
    yaml.default_flow_style = None
    yaml.width = 110
    yaml.register_class(_Tuple)
    yaml.register_class(_Charlist)
    yaml.register_class(_Binary)
    out = io.StringIO()
    yaml.dump(_tagged(data), out)
    return out.getvalue()


def _terse(entries: list[dict[str, Any]]) -> None:
    """Leave out of operations and steps what says nothing."""
    for entry in entries:
        for key, nothing in (("name", ""), ("spread", "0s"), ("on", [])):
            if entry.get(key) == nothing:
                del entry[key]
        for held in ("sequence", "parallel"):
            _terse(entry.get(held, []))


class _Tuple(list[Any]):
    @classmethod
    def to_yaml(cls, representer: Any, data: _Tuple) -> Any:
        return representer.represent_sequence("!tuple", list(data), flow_style=True)


class _Charlist(str):
    @classmethod
    def to_yaml(cls, representer: Any, data: str) -> Any:
        return representer.represent_scalar("!charlist", str(data), style='"')


class _Binary(str):
    @classmethod
    def to_yaml(cls, representer: Any, data: str) -> Any:
        return representer.represent_scalar("!binary", str(data), style='"')


def _tagged(value: Any) -> Any:
    if isinstance(value, str):
        return _quoted(value.replace("${", "$${"))
    if isinstance(value, list):
        return [_tagged(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, held),) = value.items()
        if tag == "$tuple":
            return _Tuple(_tagged(held))
        if tag in ("$charlist", "$binary"):
            return (_Charlist if tag == "$charlist" else _Binary)(_tagged(held))
    return {_quoted(key) if isinstance(key, str) else key: _tagged(entry) for key, entry in value.items()}


def _quoted(text: str) -> str:
    return text if text.isprintable() else DoubleQuotedScalarString(text)  # the other styles lose line breaks
