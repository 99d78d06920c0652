"""rpc: call a function on nodes, once. One's own recovery, or anything else a scenario wants to happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from harness.cluster.each import on_each
from harness.etf import same_term
from harness.faults.fault import Evidence, Situation
from harness.scenario import actions
from harness.scenario.groups import Pair
from harness.scenario.values import from_term, module_name, to_term

if TYPE_CHECKING:
    from harness.etf import Term
    from harness.scenario.plan import PlannedStep


class Rpc:
    separates: frozenset[Pair] = frozenset()

    def __init__(self, step: PlannedStep, situation: Situation) -> None:
        self._action = cast(actions.Rpc, step.action)
        everyone = tuple(node.name for node in situation.plan.nodes)
        self.targets = everyone if self._action.on == "all" else tuple(self._action.on)
        self._situation = situation
        self._answers: dict[str, Term] = {}

    def prepare(self) -> None:
        """Nothing beyond a connection to the nodes, which stands."""

    def inject(self) -> None:
        call = self._action
        args = [to_term(argument) for argument in call.args]
        nodes = self._situation.cluster.nodes
        self._answers = on_each(
            self.targets,
            lambda name: nodes[name].rpc(
                module_name(call.module), call.function.removeprefix(":"), args, timeout=call.timeout
            ),
        )

    def bit(self) -> Evidence:
        """That the call returned, and what ``returns`` says where that is given."""
        call = self._action
        detail: dict[str, object] = {
            "call": f"{call.module}:{call.function}/{len(call.args)}",
            "returned": {name: from_term(answer) for name, answer in self._answers.items()},
        }
        if call.returns is None:
            return Evidence(True, detail)
        expected = to_term(call.returns)
        other = [name for name, answer in self._answers.items() if not same_term(answer, expected)]
        return Evidence(not other, {**detail, "expected": call.returns, "differs_on": other})

    def heal(self) -> None:
        """Nothing to undo."""

    def healed(self) -> Evidence:
        return Evidence(True)
