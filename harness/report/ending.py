"""How a run ended, in the one form that every artefact and the exit code tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from harness.checkers import Verdict
from harness.errors import HarnessError, Interrupted
from harness.history import ENDED, History
from harness.scenario.secrets import masked_text
from harness.store import RunDir

ABORTED: Final = "ABORTED"


@dataclass(frozen=True, slots=True)
class Ending:
    """``outcome``: PASS, FAIL, INCONCLUSIVE or ABORTED. ``error``: what went wrong, ``kind`` its class; empty: nothing
    did. ``judged``: whether the run came to a verdict of its own."""

    outcome: str
    exit_code: int
    error: str = ""
    kind: str = ""
    judged: bool = True

    @classmethod
    def of(cls, verdict: Verdict, trouble: HarnessError | None = None) -> Self:
        """Of a run that was judged. What goes wrong afterwards takes a PASS away, and nothing else."""
        if trouble is None:
            return cls(verdict.outcome, verdict.exit_code)
        if verdict.exit_code:
            return cls(verdict.outcome, verdict.exit_code, str(trouble), type(trouble).__name__)
        return cls(ABORTED, trouble.exit_code, str(trouble), type(trouble).__name__)

    @classmethod
    def without_verdict(cls, error: HarnessError | Interrupted) -> Self:
        return cls(ABORTED, error.exit_code, str(error), type(error).__name__, judged=False)

    @classmethod
    def again(cls, rundir: RunDir, history: History, verdict: Verdict) -> Self:
        """Of a run that ended long ago: what went wrong then is still so. The journal holds it; where it had no room,
        summary.json."""
        told: Any = next((mark.detail for mark in history.marks(ENDED)), None) or rundir.read_json("summary.json")
        if not isinstance(told, Mapping) or not told.get("error"):
            return cls.of(verdict)
        error, kind = str(told["error"]), str(told.get("error_kind", ""))
        if told.get("outcome") == ABORTED:
            judged = bool(told.get("judged", "findings" in told))
            return cls(ABORTED, int(told.get("exit_code", HarnessError.exit_code)), error, kind, judged)
        return cls(verdict.outcome, verdict.exit_code, error, kind)

    def masked(self, secrets: Iterable[str]) -> Self:
        return replace(self, error=masked_text(self.error, secrets))

    def to_json(self) -> dict[str, Any]:
        told = {"outcome": self.outcome, "exit_code": self.exit_code}
        return told | ({"error": self.error, "error_kind": self.kind} if self.error else {})

    def journalled(self) -> dict[str, Any]:
        """The detail of the journal's mark ENDED."""
        return {**self.to_json(), "judged": self.judged}
