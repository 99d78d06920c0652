"""Scenarios one after the other: what each came to, and the one exit code of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, Interrupted
from harness.run import RunOptions, run
from harness.scenario.schema import Scenario
from harness.scenario.secrets import masked_text
from harness.signals import Interruption

# Of several files the command exits with the first of these that any of them gave.
EXIT_ORDER = (130, 143, 3, 1, 4, 5, 0)

Say = Callable[[HarnessError | Interrupted, Iterable[str], Path | None], None]
"""What went wrong, the secrets that must not be shown, and the run's folder where there is one."""


def run_all(scenarios: Sequence[tuple[Path, Scenario]], options: RunOptions, say: Say) -> tuple[int, list[Any]]:
    """(exit code, a summary per scenario that began). Errors are said and counted; an interruption ends the rest."""
    codes: list[int] = []
    summaries: list[Any] = []
    interruption = Interruption()
    for path, scenario in scenarios:
        try:
            if interruption.late:  # it came while the run before was on its way out
                raise Interrupted(interruption.late)
            interruption = Interruption()
            result = run(scenario, path, options, interruption)
        except (HarnessError, Interrupted) as error:
            say(error, scenario.secrets, None)
            codes.append(error.exit_code)
            told = masked_text(str(error), scenario.secrets)
            summaries.append({"scenario": scenario.name, "exit_code": error.exit_code, "error": told})
            ended: HarnessError | Interrupted | None = error
        else:
            ended = result.trouble
            if ended is not None:
                say(ended, scenario.secrets, result.folder)
            codes.append(result.exit_code)
            summaries.append(result.summary)
        if isinstance(ended, Interrupted):
            break
    return next(code for code in (*EXIT_ORDER, *codes) if code in codes), summaries
