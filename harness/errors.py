"""Every error a person can meet, in one tree.

An error carries fields and reads as one line: ``node: operation: cause; remedy``. ``exit_code`` is what the
command line exits with when the error ends a run (docs/scenario.md has the table of exit codes).
"""

from __future__ import annotations

import reprlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class HarnessError(Exception):
    """Base of all errors. Fields are plain strings, empty where they say nothing."""

    exit_code = 3

    def __init__(self, operation: str, cause: str = "", remedy: str = "", *, node: str = "") -> None:
        super().__init__(operation, cause, remedy, node)
        self.operation = operation
        self.cause = cause
        self.remedy = remedy
        self.node = node

    def __str__(self) -> str:
        told = ": ".join(part for part in (self.node, self.operation, self.cause) if part)
        line = f"{told}; {self.remedy}" if self.remedy else told
        return " ".join(line.split())


class InternalError(HarnessError):
    """A fault of the harness itself."""

    def __init__(self, error: Exception) -> None:
        remedy = "this is a fault of harness itself; HARNESS_DEBUG=1 shows where"
        super().__init__("internal error", f"{type(error).__name__}: {error}", remedy)
        self.__cause__ = error


# --- what a person typed ------------------------------------------------------------------------------------------


class UsageError(HarnessError):
    """Something that was typed, or given to a function, cannot be meant."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a scenario file, at a 1-based line and column; line 0: not in a file (``--set``)."""

    file: str
    line: int
    column: int
    message: str

    @property
    def place(self) -> tuple[str, int, int]:
        return self.file, self.line, self.column

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.message}"


class ScenarioError(HarnessError):
    """A scenario that cannot be run; carries every mistake found, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = str(self.problems[0]) if self.problems else "invalid scenario"
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(first + more)


class RunNotFound(HarnessError):
    """No such run folder, or what is in it is not a run."""

    exit_code = 2


# --- the ground a run stands on -----------------------------------------------------------------------------------


class EnvironmentProblem(HarnessError):
    """The machine, the engine or the cluster cannot carry the run."""

    exit_code = 4


class EngineUnreachable(EnvironmentProblem):
    """No container engine answered. ``startable``: one of this machine may be installed or started to mend that."""

    startable = False


class ImageMissing(EnvironmentProblem):
    """An image is neither local, nor can it be pulled or bootstrapped."""


class ClusterNotFormed(EnvironmentProblem):
    """The nodes did not become one cluster in time."""


class FaultUnsupported(EnvironmentProblem):
    """This kernel or engine cannot do the fault the scenario asks for."""


class HelperFailed(EnvironmentProblem):
    """A command in a node's helper container failed."""


class LoadFailed(EnvironmentProblem):
    """The Locust children could not be started or went away."""


class DiskFull(EnvironmentProblem):
    """The run folder cannot be written any more."""


class Interrupted(KeyboardInterrupt):
    """Ended by a signal; the run heals, writes and removes before it exits with 128 + signal.

    No HarnessError: it comes at any line of the main thread, and nobody who copes with an error may take it for one.
    """

    def __init__(self, signal_number: int) -> None:
        by = "Ctrl-C" if signal_number == signal.SIGINT else signal.Signals(signal_number).name
        super().__init__(f"interrupted by {by}")
        self.exit_code = 128 + signal_number


# --- terms and distribution ---------------------------------------------------------------------------------------


class _Shown(reprlib.Repr):
    """A remote term may be megabytes, or too deep for repr(), or an integer longer than Python prints."""

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"<integer of {x.bit_length()} bits>"


_shown = _Shown()
_shown.maxlevel, _shown.maxstring, _shown.maxother, _shown.maxtuple, _shown.maxlist = 8, 300, 300, 12, 12
shown = _shown.repr


class TermError(HarnessError):
    """Bytes and Python values that are no Erlang terms."""


class DecodeError(TermError):
    """Bytes that are no term (or no message). ``offset`` into the input; ``tag`` is the byte met there or None."""

    def __init__(self, cause: str, offset: int = 0, tag: int | None = None) -> None:
        where = f"at offset {offset}" + ("" if tag is None else f", tag {tag}")
        super().__init__("decode", f"{cause} {where}")
        self.offset = offset
        self.tag = tag


class EncodeError(TermError):
    """A Python value that has no Erlang counterpart."""


class DistError(EnvironmentProblem):
    """Something went wrong between us and an Erlang node."""


class NotSent(DistError):
    """Nothing left this process: the operation certainly did not happen."""


class NoSuchNode(NotSent):
    """EPMD answered and does not know the name."""


class NameTaken(NotSent):
    """EPMD knows a node of our name already."""


class HandshakeRefused(NotSent):
    """The peer would not talk to us. ``reason``: ``cookie``, ``flags``, ``not_allowed``, ``nok``, ``alive``, ``name``,
    ``closed``, ``protocol``, and what begins with ``tls``.
    """

    def __init__(self, operation: str, reason: str, cause: str = "", remedy: str = "", *, node: str = "") -> None:
        super().__init__(operation, cause or reason, remedy, node=node)
        self.reason = reason


class ConnectionLost(DistError):
    """The connection ended after bytes may have left: the outcome is unknown."""


class CallTimeout(DistError):
    """No answer in time: the outcome is unknown, a blocked call may still take effect later."""


class ReceiveTimeout(DistError):
    """Nothing (that matches) arrived in a mailbox in time; what arrived stays there."""


class MailboxClosed(DistError):
    """The mailbox was closed, by its owner or by ``exit(Pid, kill)``, and is empty."""


class RemoteError(DistError):
    """The remote side raised. ``klass`` is ``error``, ``exit``, ``throw`` or ``badrpc``; ``reason`` is a term."""

    def __init__(self, operation: str, klass: str, reason: object, *, node: str = "") -> None:
        super().__init__(operation, f"{klass}: {shown(reason)}", node=node)
        self.klass = klass
        self.reason = reason

    @property
    def stacktrace(self) -> list[Any]:
        """Where it was raised, innermost first: (module, function, arity or arguments, properties) each.

        Erlang gives one with errors only (the reason is then a tuple of it and the stack trace); else it is empty.
        """
        match self.klass, self.reason:
            case "error", (_, [*frames]):
                return frames
        return []
