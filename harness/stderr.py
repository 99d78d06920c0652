"""What went wrong, on stderr: one line, or one per mistake, and never a traceback unless it is asked for."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from pathlib import Path

import click

from harness.errors import HarnessError, InternalError, Interrupted, ScenarioError


def say_error(error: HarnessError | Interrupted, secrets: Iterable[str] = (), folder: Path | None = None) -> None:
    """``folder``: of the run that it ended, told last. HARNESS_DEBUG in the environment asks for the traceback."""
    if isinstance(error, InternalError) and os.environ.get("HARNESS_DEBUG"):
        traceback.print_exception(error.__cause__)
    if isinstance(error, ScenarioError):
        for problem in error.problems:
            click.echo(str(problem), err=True)
    else:
        from harness.scenario.secrets import masked_text  # only here: most commands end well

        click.echo(f"harness: {masked_text(str(error), secrets)}", err=True)
    if folder is not None:
        click.echo(f"  artefacts      {folder}", err=True)
