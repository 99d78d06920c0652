"""What an answer to a call means, sans-I/O: a value, or what went wrong there."""

from __future__ import annotations

from collections.abc import Sequence

from harness.dist.calls import Envelope
from harness.dist.core import Call
from harness.dist.inbox import FAILED
from harness.errors import DecodeError, RemoteError
from harness.etf import Term


def rpc_result(envelope: Envelope, call: Call, peer: str, module: str, function: str, args: Sequence[Term]) -> Term:
    """The value that rex answered a call with. Raises RemoteError."""
    try:
        value = envelope.result(call)
    except DecodeError as error:
        raise _unreadable(f"rpc {module}:{function}/{len(args)}", error, peer) from error
    if type(value) is tuple and len(value) == 2 and value[0] == "badrpc":
        raise _badrpc(f"rpc {module}:{function}/{len(args)}", value[1], peer)
    return value


def _badrpc(operation: str, reason: Term, peer: str) -> RemoteError:
    match reason:
        case ("EXIT", (_, [*_]) as error):  # a stack trace comes with errors only
            return RemoteError(operation, "error", error, node=peer)
        case ("EXIT", why):
            return RemoteError(operation, "exit", why, node=peer)
    return RemoteError(operation, "badrpc", reason, node=peer)


def erpc_result(envelope: Envelope, call: Call, peer: str, module: str, function: str, args: Sequence[Term]) -> Term:
    """The value that a call's ``erpc:execute_call`` ended with. Raises RemoteError."""
    operation = f"erpc {module}:{function}/{len(args)}"
    if call.kind == FAILED:
        raise RemoteError(operation, "badrpc", call.packet, node=peer)
    try:
        value = envelope.result(call)
    except DecodeError as error:
        raise _unreadable(operation, error, peer) from error
    if type(value) is tuple:
        if len(value) == 3 and value[1] == "return":
            return value[2]
        match value:
            case (_, "error", reason, stack):
                raise RemoteError(operation, "error", (reason, stack), node=peer)
            case (_, "error" | "exit" | "throw" as klass, reason):
                raise RemoteError(operation, str(klass), reason, node=peer)
    raise RemoteError(operation, "exit", value, node=peer)  # killed from outside, or erpc itself is not there


def _unreadable(operation: str, error: DecodeError, peer: str) -> RemoteError:
    return RemoteError(operation, "badrpc", f"unreadable answer: {error}", node=peer)
