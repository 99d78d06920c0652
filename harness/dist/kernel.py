"""What other nodes ask of the registered processes that every Erlang node has, sans-I/O.

A node of ours runs no code for others: it answers ``net_adm:ping/1`` and says no to calls, so that nobody waits.
"""

from __future__ import annotations

from harness.dist.protocol.control import AliasSend, Control, Send
from harness.etf import Atom, ImproperList, Pid, Reference, Term

NAMES = ("net_kernel", "rex")
"""Names under which the node itself is found (and can be monitored)."""


def answer(name: str, message: Term, own: Pid) -> tuple[str, Control, Term] | None:
    """Node, control message and message of the answer to a ``gen_server:call``; None for anything else."""
    match message:
        case ("$gen_call", (Pid() as caller, tag), request):
            reply = (tag, _result(name, request))
        case _:
            return None
    match tag:  # since OTP 24 a caller gives an alias: an answer that comes too late then finds nobody
        case ImproperList(elements=("alias",), tail=Reference() as alias):
            return caller.node, AliasSend(own, alias), reply
    return caller.node, Send(caller), reply


def _result(name: str, request: Term) -> Term:
    match name, request:
        case "net_kernel", ("is_auth", _):
            return Atom("yes")
        case "rex", _:
            return (Atom("badrpc"), Atom("notsup"))
    return (Atom("error"), Atom("notsup"))


def ping(own: Pid, ref: Reference) -> Term:
    """What ``net_adm:ping/1`` sends to ``net_kernel``; the answer is ``{ref, yes}``."""
    return (Atom("$gen_call"), (own, ref), (Atom("is_auth"), own.node))
