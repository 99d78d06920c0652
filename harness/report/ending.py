"""How a run ended, in the one form that every artefact and the exit code tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from harness.checkers import Verdict
from harness.errors import HarnessError, Interrupted
from harness.store import RunDir

ABORTED: Final = "ABORTED"


@dataclass(frozen=True, slots=True)
class Ending:
    """``outcome``: PASS, FAIL, INCONCLUSIVE or ABORTED. ``error``: what went wrong, ``kind`` its class; empty: nothing
    did."""

    outcome: str
    exit_code: int
    error: str = ""
    kind: str = ""

    @classmethod
    def of(cls, verdict: Verdict, trouble: HarnessError | None = None) -> Self:
        """Of a run that was judged. What goes wrong afterwards takes a PASS away, and nothing else."""
        if trouble is None:
            return cls(verdict.outcome, verdict.exit_code)
        if verdict.exit_code:
            return cls(verdict.outcome, verdict.exit_code, str(trouble), type(trouble).__name__)
        return cls.without_verdict(trouble)

    @classmethod
    def without_verdict(cls, error: HarnessError | Interrupted) -> Self:
        return cls(ABORTED, error.exit_code, str(error), type(error).__name__)

    @classmethod
    def again(cls, rundir: RunDir, verdict: Verdict) -> Self:
        """Of a run whose artefacts are written again: what went wrong then is still so."""
        told = rundir.read_json("summary.json")
        if not isinstance(told, dict) or not told.get("error"):
            return cls.of(verdict)
        error, kind = str(told["error"]), str(told.get("error_kind", ""))
        if told.get("outcome") == ABORTED:
            return cls(ABORTED, int(told["exit_code"]), error, kind)
        return cls(verdict.outcome, verdict.exit_code, error, kind)

    def to_json(self) -> dict[str, Any]:
        told = {"outcome": self.outcome, "exit_code": self.exit_code}
        return told | ({"error": self.error, "error_kind": self.kind} if self.error else {})
