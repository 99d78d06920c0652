"""What callers hand in, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.errors import EncodeError, UsageError, shown
from harness.etf import Term, encode

# What net_kernel lets in: it answers a name with other characters before the @ with the status nok, one with two @ or
# of more characters than an atom has with nothing. The host it leaves to the resolver.
_HOST = "[!-?A-~\u00a1-\u00ff]+"
_host = re.compile(_HOST)
_name = re.compile("[0-9A-Za-z_-]+@" + _HOST)
_LONGEST = 255


def check_name(name: str, operation: str = "connect") -> None:
    """A node's full name. Raises UsageError."""
    if not isinstance(name, str) or len(name) > _LONGEST or not _name.fullmatch(name):
        remedy = f"write name@host: letters, digits, _ and -, then a host without spaces, {_LONGEST} characters in all"
        raise UsageError(operation, f"{shown(name)} is no node name", remedy)


def check_own(name: str) -> None:
    """A node's full name, or the host alone of one that a peer is to give. Raises UsageError."""
    if not isinstance(name, str) or not _host.fullmatch(name) or len(name) > _LONGEST:
        check_name(name, "node")


def expect(fits: bool, operation: str, what: str, got: object, node: str = "") -> None:
    """Raises UsageError unless `fits`."""
    if not fits:
        raise UsageError(operation, f"expected {what}, got {shown(got)}", node=node)


LONGEST_WAIT = 1e6
"""Seconds that can be waited for. More than eleven days are meant to be for good, and None says that."""
_WAIT = f"seconds as timeout, at most {LONGEST_WAIT:.0f}"


def check_wait(seconds: object, operation: str, node: str, *, none: bool = True) -> None:
    """A timeout, as None unless told otherwise. Raises UsageError."""
    fits = (none and seconds is None) or (isinstance(seconds, int | float) and seconds <= LONGEST_WAIT)
    expect(fits, operation, _WAIT, seconds, node)


def check_address(host: object, port: object, operation: str, node: str, least: int = 1) -> None:
    """Raises UsageError."""
    expect(isinstance(host, str), operation, "a str as host", host, node)
    fits = type(port) is int and least <= port <= 0xFFFF
    expect(fits, operation, f"a port from {least} to {0xFFFF}", port, node)


def listed(args: Sequence[Term]) -> list[Term]:
    """The arguments of a call as a list. Raises TypeError for what cannot be meant: see `check_call`."""
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        raise TypeError
    return list(args)


def check_call(kind: str, module: object, function: object, args: object, node: str) -> str:
    """The operation, for errors: ``rpc lists:seq/2``. Raises UsageError for what names no function or is no list."""
    for what, name in (("the name of a module", module), ("the name of a function", function)):
        expect(isinstance(name, str), kind, what, name, node)
    if isinstance(args, Sequence) and not isinstance(args, str | bytes):
        return f"{kind} {module}:{function}/{len(args)}"
    raise UsageError(f"{kind} {module}:{function}", f"expected a list of arguments, got {shown(args)}", node=node)


def explain(error: Exception, operation: str, node: str, *given: Any) -> None:
    """Say more of what `error`, raised while `given` was written, means; nothing where it is the caller's own code's.

    `given` of a call: module, function, arguments. Raises UsageError, EncodeError.
    """
    if len(given) == 3:
        operation = check_call(operation, *given, node)
    if isinstance(error, EncodeError):
        raise EncodeError(operation, error.cause, error.remedy, node=node) from error


def check_term(term: Term, operation: str, node: str) -> None:
    """Raises EncodeError."""
    try:
        encode(term)
    except EncodeError as error:
        explain(error, operation, node)
