"""Who is connected to a node of ours: dialling, being dialled, and which of the two goes on if both happen at once."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.dist.connection import Connection
from harness.dist.dial import SHORTEST, Left, ask_epmd, dial, limit, shake_hands
from harness.dist.events import NodeEvent
from harness.dist.exchange import Exchange
from harness.dist.given_names import GivenNames
from harness.dist.headed import wired
from harness.dist.link import Link, OnClose
from harness.dist.protocol.flags import Flag
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Initiator, Name, Named, simultaneous
from harness.dist.runtime import Parker, Runtime, Stream
from harness.dist.tls import HEADER, secured
from harness.errors import HandshakeRefused, HarnessError, NotSent, UsageError
from harness.etf import DecodeOptions

_SETUP = 7.0  # s that whoever dials us has for the handshake: net_setuptime's default
_AGAIN = 0.1  # s until a peer whose own attempt goes on is asked again
_SERIES = 1 << 18


class _Attempt:
    """One peer being dialled. Others who want it wait; so does the attempt that gave way to the peer's own."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: list[Parker] = []
        self.stream: Stream | None = None
        self.gave_way = False

    def waiter(self) -> Parker:
        """Under the guard: what `go_on` unparks."""
        parker = self._runtime.parker()
        self._waiting.append(parker)
        return parker

    def go_on(self) -> None:
        for parker in self._waiting:
            parker.unpark()

    def give_way(self) -> None:
        self.gave_way = True
        if self.stream is not None:
            self.stream.close()


class Links:
    """The connections of one node. `exchange` is there as soon as the node has a name."""

    def __init__(
        self,
        identity: Identity,
        runtime: Runtime,
        *,
        ticktime: float,
        tls: ssl.SSLContext | None,
        limits: DecodeOptions,
        max_packet: int,
        subscribers: Sequence[Callable[[NodeEvent], None]],
    ) -> None:
        self.identity = identity
        self.exchange: Exchange | None = None
        self._runtime = runtime
        self._ticktime = ticktime
        self._tls = tls
        self._limits, self._max_packet = limits, max_packet
        self._subscribers = subscribers
        self._guard = runtime.lock()
        self._given = GivenNames()
        self._attempts: dict[str, _Attempt] = {}
        self._series = 0
        self._closed = False
        if "@" in identity.name:
            self._named(identity.name, identity.creation)

    @property
    def standing(self) -> dict[str, Link]:
        links = dict(self.exchange.connections) if self.exchange is not None else {}
        return {peer: link for peer, link in links.items() if isinstance(link, Link) and not link.closed}

    def close(self) -> None:
        """No connection is left, and none comes."""
        with self._guarded():
            self._closed = True
        for connection in self.standing.values():
            connection.close()
        if self.exchange is not None:
            self.exchange.close()

    def check_open(self) -> None:
        """Raises NotSent."""
        if self._closed:
            raise NotSent("node", "it is closed", node=self.identity.name)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        self._guard.acquire()
        try:
            yield
        finally:
            self._guard.release()

    # --- dialling ------------------------------------------------------------------------------------------------

    def connect(
        self, peer: str, host: str, port: int | None, epmd_port: int, timeout: float, on_close: OnClose | None
    ) -> Connection:
        """See `Node.connect`."""
        if peer == self.identity.name:
            raise UsageError("connect", f"{peer} is this node itself", "its own processes need no connection")
        left = limit(timeout)
        attempt = _Attempt(self._runtime)
        while True:
            with self._guarded():
                self.check_open()
                link = self.standing.get(peer)
                other = self._attempts.setdefault(peer, attempt) if link is None else attempt
                waiter = other.waiter()
            if other is attempt:
                break
            if not waiter.park(left()):
                raise NotSent("connect", "no connection in time: it is being dialled already", node=peer)
        if link is None:
            try:
                link = self._reach(peer, host, port, epmd_port, attempt, waiter, left)
            finally:
                with self._guarded():
                    del self._attempts[peer]
                    attempt.go_on()
            if self.exchange is not None:
                self.exchange.tell()
        if on_close is not None:
            link.tell(on_close)
        return link

    def _reach(
        self, peer: str, host: str, port: int | None, epmd_port: int, attempt: _Attempt, waiter: Parker, left: Left
    ) -> Link:
        reason = ""
        while True:
            earlier = reason
            try:
                return self._dial(peer, host, port, epmd_port, attempt, left, insist=earlier != "nok")
            except NotSent as error:
                reason = error.reason if isinstance(error, HandshakeRefused) else ""
                if reason == "cookie" and earlier != "cookie":
                    continue  # a node that is killed at that moment closes just so; this time it is gone, or has others
                given_way = attempt.gave_way
                if not (given_way or reason in ("nok", "alive")):
                    raise
                # The peer dials us at the same time, and its attempt goes on: until it is done (alive: it just was), or
                # given up because the peer does not reach us
                waiter.park(left() if given_way else min(left(), _AGAIN))
                theirs = self.standing.get(peer)
                if theirs is not None:
                    return theirs
                if given_way or left() <= SHORTEST:
                    raise

    def _dial(
        self,
        peer: str,
        host: str,
        port: int | None,
        epmd_port: int,
        attempt: _Attempt,
        left: Left,
        *,
        insist: bool,
    ) -> Link:
        if port is None:
            port = ask_epmd(peer, host, epmd_port, self._runtime, left)
        return self._introduce(dial(peer, host, port, self._runtime, left), peer, attempt, left, insist)

    def _introduce(self, stream: Stream, peer: str, attempt: _Attempt, left: Left, insist: bool) -> Link:
        try:
            with self._guarded():
                attempt.stream = stream
                if attempt.gave_way:
                    raise NotSent("connect", "gave way to the connection that the node sets up", node=peer)
            if self._tls is not None:
                stream = secured(stream, self._tls, peer, self._runtime, left)
            identity = replace(self.identity, header=2 if self._tls is None else HEADER)
            done = shake_hands(stream, Initiator(identity, peer, secrets.randbits(32), insist=insist), left)
            with self._guarded():
                if attempt.gave_way:
                    raise NotSent("connect", "gave way to the connection that the node sets up", node=peer)
                return self._adopt(stream, done)
        except BaseException:
            stream.close()
            raise

    def _adopt(self, stream: Stream, done: Established) -> Link:
        """The connection over an established stream. Under the guard; `Exchange.tell` is to be called after it."""
        self.check_open()
        exchange = self.exchange or self._named(done.local, done.local_creation)
        if done.local != exchange.name:
            raise HandshakeRefused("handshake", "name", f"it names us {done.local}", node=done.peer)
        self._series = 1 + self._series % (_SERIES - 1)
        common = done.flags & self.identity.flags
        ours = (exchange.name, exchange.creation, self._series)
        wire, envelope = wired(stream, common, *ours, self._limits, self._max_packet)

        def make() -> Link:
            return Link(
                wire,
                self._runtime,
                envelope,
                exchange=exchange,
                peer=done.peer,
                flags=done.flags,
                ticktime=self._ticktime,
                rest=done.rest,
            )

        link, before = exchange.connected(make, hidden=not done.flags & Flag.PUBLISHED)
        if isinstance(before, Link):
            before.replaced()
        return link

    def _named(self, name: str, creation: int) -> Exchange:
        self.identity = replace(self.identity, name=name, creation=creation)
        self.exchange = Exchange(name, creation, self._runtime, self._limits, self._subscribers)
        return self.exchange

    # --- being dialled -------------------------------------------------------------------------------------------

    def welcome(self, stream: Stream, tls: ssl.SSLContext | None) -> None:
        """A stream that somebody opened to us. Who is refused learns it from the handshake; nobody is told here."""
        left = limit(_SETUP)
        lent: list[str] = []
        assert self.exchange is not None
        try:
            if tls is not None:
                stream = secured(stream, tls, "", self._runtime, left, server_side=True)
            identity = replace(self.identity, header=2 if tls is None else HEADER)
            done = shake_hands(
                stream, Acceptor(identity, secrets.randbits(32), lambda who: self._answer(who, lent)), left
            )
            with self._guarded():
                self._adopt(stream, done)
                attempt = self._attempts.get(done.peer)
                if attempt is not None:
                    attempt.go_on()
            self.exchange.tell()
        except BaseException as error:
            stream.close()
            if not isinstance(error, HarnessError):
                raise
        finally:
            with self._guarded():
                self._given.settled(lent)

    def _answer(self, who: Name, lent: list[str]) -> str | Named:
        """What a node that dials us is told (Distribution Handshake, status)."""
        if who.flags & Flag.NAME_ME:
            host = who.name or self.identity.name.partition("@")[2]
            with self._guarded():
                named = self._given.lend(host, self.standing)
            lent.append(named.name)
            return named
        if who.name == self.identity.name:
            return "not_allowed"
        with self._guarded():
            if who.name in self.standing:
                return "alive"
            attempt = self._attempts.get(who.name)
            if attempt is None:
                return "ok"
            answer = simultaneous(self.identity.name, who.name)
            if answer == "ok_simultaneous":
                attempt.give_way()
            return answer
