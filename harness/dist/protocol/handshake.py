"""Handshake version 6, sans-I/O, in both roles (chapter Distribution Protocol, Distribution Handshake).

::

    initiator                       acceptor
    N flags creation name    ->
                             <-     s status
   (s true, or s false       ->     after status alive)
                             <-     N flags challenge creation name
    r challenge digest       ->
                             <-     a digest

Every message has a 2-byte length before it, inside TLS a 4-byte one. Challenges are arguments: whoever owns a random
source passes them in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.dist.protocol.flags import MANDATORY_25, MANDATORY_26, Flag, expanded, lacking
from harness.dist.protocol.handshake_base import Established, Event, Handshake, Identity, Refused, Send, State
from harness.dist.protocol.handshake_messages import (
    Ack,
    Challenge,
    Name,
    Named,
    Reply,
    Status,
    digest,
    proven,
    read_status,
)
from harness.errors import HandshakeRefused

__all__ = [
    "Acceptor",
    "Established",
    "Event",
    "Flag",
    "Identity",
    "Initiator",
    "Name",
    "Named",
    "Refused",
    "Send",
    "simultaneous",
]


class Initiator(Handshake):
    """Our side when we dial. `challenge` is a random 32-bit integer. Feed `start()` to the peer first.

    Told that a connection under our name is alive, we say that it is not and go on; with ``insist=False`` we give way.
    """

    def __init__(self, local: Identity, peer: str, challenge: int, *, insist: bool = True) -> None:
        super().__init__(local, challenge, State.STATUS, peer)
        self._nameless = "@" not in local.name
        self._insist = insist

    def start(self) -> bytes:
        flags = self.local.flags | (Flag.NAME_ME if self._nameless else 0)
        return self._send(Name(flags, self.local.creation, self.local.name)).data

    def eof(self) -> HandshakeRefused:
        if self._state is State.ACK:  # OTP answers a digest that it does not like with a close, and a line in its log
            return self._wrong_cookie("closed without acknowledging ours", "most likely the cookies differ")
        return super().eof()

    def _message(self, message: bytes) -> list[Event]:
        match self._state:
            case State.STATUS:
                return self._status(read_status(message))
            case State.CHALLENGE:
                return self._answer(Challenge.read(message))
        if not proven(Ack.read(message).proof, self.local.cookie_bytes, self._challenge):
            raise self._wrong_cookie("the node accepted ours and showed another")
        return [self._established()]

    def _status(self, status: Status | Named) -> list[Event]:
        self._state = State.CHALLENGE
        match status:
            case Named(name, creation) if self._nameless and all(name.partition("@")):
                self.local = replace(self.local, name=name, creation=creation)
                return []
            case Status("ok" | "ok_simultaneous") if not self._nameless:
                return []
            case Status("alive"):
                # By default: ours are never duplicated by us, so the connection that the peer still holds is dead and
                # only not detected yet. "true" makes the peer drop it and go on with this one.
                if self._insist:
                    return [self._send(Status("true"))]
                said = self._send(Status("false"))
                return [said, self._refused("alive", "there is a connection under our name already")]
            case Status("nok"):
                cause = f"the node is connecting to {self.local.name} itself, and its own attempt goes on"
                raise self._error("nok", cause, "try again: it gives up where it does not reach us")
            case Status("not_allowed"):
                lack = lacking(self.local.flags, MANDATORY_26)
                if lack:
                    raise self._error("flags", f"the node does not let us in without the flags {lack}")
                cause = f"the node does not let {self.local.name} in"
                raise self._error("not_allowed", cause, "see its net_kernel:allow/1")
        self._state = State.STATUS
        raise self._error("protocol", f"the status makes no sense here: {status}"[:200])

    def _answer(self, theirs: Challenge) -> list[Event]:
        if theirs.name != self.peer:
            raise self._error("name", f"the node that answered is {theirs.name}", "dial the address of the node meant")
        lack = lacking(theirs.flags, MANDATORY_25)
        if lack:
            raise self._error("flags", f"the node lacks the flags {lack}", "OTP 25 or later is needed")
        self.peer_flags, self.peer_creation = expanded(theirs.flags), theirs.creation
        self._state = State.ACK
        return [self._send(Reply(self._challenge, digest(self.local.cookie_bytes, theirs.challenge)))]


class Acceptor(Handshake):
    """Our side when we are dialled.

    `answer` is what the initiator is told, or gives it once its name is known: ``ok``, ``ok_simultaneous``, ``nok``,
    ``not_allowed``, ``alive``; Named to who asks for a name (its flags have NAME_ME).
    """

    def __init__(self, local: Identity, challenge: int, answer: str | Callable[[Name], str | Named] = "ok") -> None:
        super().__init__(local, challenge, State.NAME)
        self._decide = answer

    def _message(self, message: bytes) -> list[Event]:
        match self._state:
            case State.NAME:
                return self._name(Name.read(message))
            case State.STATUS_AGAIN:
                if message == b"strue":
                    return [self._challenge_it()]
                if message == b"sfalse":
                    return [self._refused("alive", "the peer leaves the existing connection in place")]
                raise ValueError
        reply = Reply.read(message)
        if not proven(reply.proof, self.local.cookie_bytes, self._challenge):
            raise self._wrong_cookie("it did not show ours")
        ack = self._send(Ack(digest(self.local.cookie_bytes, reply.challenge)))
        return [ack, self._established()]

    def _name(self, theirs: Name) -> list[Event]:
        self.peer = theirs.name
        self.peer_flags, self.peer_creation = expanded(theirs.flags), theirs.creation
        lack = lacking(theirs.flags, MANDATORY_25)
        if lack:
            return self._turn_away("not_allowed", self._refused("flags", f"the peer lacks the flags {lack}"))
        nameless = bool(theirs.flags & Flag.NAME_ME)
        if not nameless and not all(theirs.name.partition("@")):
            return self._turn_away("not_allowed", self._refused("name", f"{theirs.name!r} is no node name"))
        answer = self._decide(theirs) if callable(self._decide) else self._decide
        if isinstance(answer, Named) and nameless:
            self.peer, self.peer_creation = answer.name, answer.creation
            return [self._send(answer), self._challenge_it()]
        if answer == "alive" and not nameless:
            self._state = State.STATUS_AGAIN
            return [self._send(Status(answer))]
        if answer in ("ok", "ok_simultaneous") and not nameless:
            return [self._send(Status(answer)), self._challenge_it()]
        status = answer if answer == "nok" else "not_allowed"
        return self._turn_away(status, self._refused(status, "this side does not let it in"))

    def _turn_away(self, status: str, refused: Refused) -> list[Event]:
        return [self._send(Status(status)), refused]

    def _challenge_it(self) -> Send:
        self._state = State.REPLY
        local = self.local
        flags = local.flags | self.peer_flags & Flag.NAME_ME  # a node takes the name only if it gets the wish back
        return self._send(Challenge(flags, self._challenge, local.creation, local.name))


def simultaneous(local: str, initiator: str) -> str:
    """What to tell `initiator` while we are dialling it ourselves: the greater name's attempt goes on.

    ``ok_simultaneous``: give up our own. ``nok``: ours goes on.
    """
    return "ok_simultaneous" if initiator > local else "nok"
