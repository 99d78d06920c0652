"""A node of ours: it dials and is dialled, and its processes are found by others."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable

from harness.dist import kernel
from harness.dist.arguments import LONGEST_WAIT, check_address, check_name, check_own, check_wait, expect
from harness.dist.connection import Connection
from harness.dist.dial import limit
from harness.dist.events import NodeEvent
from harness.dist.exchange import Exchange
from harness.dist.given_names import new_creation
from harness.dist.link import OnClose
from harness.dist.links import Links
from harness.dist.listen import Door, Registration
from harness.dist.mailbox import Mailbox
from harness.dist.protocol.control import RegSend
from harness.dist.protocol.flags import HEADER, HIDDEN, VISIBLE
from harness.dist.protocol.framing import LONGEST, MAX_PACKET
from harness.dist.protocol.handshake import Identity
from harness.dist.runtime import THREADS, Runtime
from harness.errors import CallTimeout, NotSent, ReceiveTimeout, UsageError, shown
from harness.etf import Atom, DecodeOptions

_LEAST_TICKTIME = 0.1  # s: net_ticktime has whole seconds; less is for trying out
_LEAST_PACKET = 1 << 16  # bytes: nodes send fragments of that size


class Node:
    """The node `name` ("me@host"), hidden unless told otherwise. Given the host alone ("host"), the first node
    connected to makes up the rest of the name.

    One incarnation of a name has one creation: what was meant for an earlier one is dropped. `ticktime` (seconds) is
    the net_ticktime of the peers. With `tls` peers are dialled as nodes of ``-proto_dist inet_tls``. With `atom_cache`
    packets have distribution headers where the peer wants them, too, and large messages go in fragments. `limits` are
    those of terms that arrive, in answers and in mailboxes; how terms look it cannot change. A packet of more than
    `max_packet` bytes ends the connection.

    A visible node is one of the cluster to all others: they list it in ``nodes()``, connect to it by themselves, and
    their `global` expects answers that this one does not give. That is for trying out; hidden disturbs nobody.
    """

    def __init__(
        self,
        name: str,
        cookie: str,
        *,
        hidden: bool = True,
        runtime: Runtime = THREADS,
        ticktime: float = 60.0,
        tls: ssl.SSLContext | None = None,
        atom_cache: bool = False,
        limits: DecodeOptions | None = None,
        max_packet: int = MAX_PACKET,
    ) -> None:
        check_own(name)
        expect(isinstance(cookie, str), "node", "a str as cookie", type(cookie), name)
        fits = isinstance(ticktime, int | float) and _LEAST_TICKTIME <= ticktime <= LONGEST_WAIT
        expect(fits, "node", f"a ticktime from {_LEAST_TICKTIME} to {LONGEST_WAIT:.0f} seconds", ticktime, name)
        limits = DecodeOptions() if limits is None else limits
        plain = isinstance(limits, DecodeOptions) and limits.plain
        expect(plain, "node", "DecodeOptions of nothing but limits", limits, name)
        fits = type(max_packet) is int and _LEAST_PACKET <= max_packet <= LONGEST
        expect(fits, "node", f"max_packet from {_LEAST_PACKET} to {LONGEST}", max_packet, name)
        flags = (HIDDEN if hidden else VISIBLE) | (HEADER if atom_cache else 0)
        identity = Identity(name, cookie, new_creation(), flags)
        self._hidden = hidden
        self._runtime = runtime
        self._subscribers: list[Callable[[NodeEvent], None]] = []
        self._links = Links(
            identity,
            runtime,
            ticktime=ticktime,
            tls=tls,
            limits=limits,
            max_packet=max_packet,
            subscribers=self._subscribers,
        )
        self._doors: list[Door | Registration] = []

    @property
    def name(self) -> str:
        """The host alone until a peer has given the rest."""
        return self._links.identity.name

    @property
    def connections(self) -> dict[str, Connection]:
        """The connections that stand, by peer."""
        return dict(self._links.standing)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- other nodes ---------------------------------------------------------------------------------------------

    def connect(
        self,
        peer: str,
        *,
        host: str | None = None,
        port: int | None = None,
        epmd_port: int = 4369,
        timeout: float = 5.0,
        on_close: OnClose | None = None,
    ) -> Connection:
        """The connection to `peer`: the one that stands, or a new one to `host` (default: as its name says), IPv4 or
        IPv6. Without `port`, EPMD there is asked; a node without EPMD needs it.

        `timeout` (seconds) bounds all of it. `on_close` gets the reason of a loss once, in a thread of its own,
        unless `close` was called. Raises NoSuchNode (EPMD does not know it), HandshakeRefused (with reason), NotSent
        (nobody there, or silent).
        """
        check_name(peer)
        host = host if host is not None else peer.partition("@")[2]
        check_address(host, epmd_port, "connect", peer)
        check_address(host, epmd_port if port is None else port, "connect", peer)
        check_wait(timeout, "connect", peer, none=False)
        return self._links.connect(peer, host, port, epmd_port, timeout, on_close)

    def ping(self, peer: str, timeout: float | None = 5.0) -> float:
        """Seconds that the `net_kernel` of a connected node took to say yes, as for ``net_adm:ping/1``.

        Raises NotSent, CallTimeout.
        """
        exchange = self._named("ping")
        check_wait(timeout, "ping", peer)
        with self.mailbox() as asking:
            ref = asking.alias()
            start = time.perf_counter()
            question = RegSend(asking.pid, Atom("net_kernel"))
            exchange.send("ping", question, peer, kernel.ping(asking.pid, ref), wait=False)
            try:
                asking.receive(timeout, lambda message: message == (ref, "yes"))
            except ReceiveTimeout as error:
                raise CallTimeout("ping", f"no answer within {timeout} s", node=peer) from error
            return time.perf_counter() - start

    def subscribe(self, subscriber: Callable[[NodeEvent], None]) -> None:
        """`subscriber` gets NodeUp and NodeDown in the order they happen, from whoever noticed; it must not raise.

        To have them in a mailbox: ``node.subscribe(mailbox.deliver)``.
        """
        expect(callable(subscriber), "subscribe", "a function", subscriber, self.name)
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Callable[[NodeEvent], None]) -> None:
        with contextlib.suppress(ValueError):
            self._subscribers.remove(subscriber)

    # --- processes -----------------------------------------------------------------------------------------------

    def mailbox(self, name: str | None = None) -> Mailbox:
        """A process of this node, registered as `name`. Raises UsageError: the name is taken, or the node has none."""
        fits = name is None or (isinstance(name, str) and len(name) <= 255)
        expect(fits, "mailbox", "a name of at most 255 characters", name, self.name)
        return Mailbox(self._named("mailbox"), self._runtime, name)

    def _named(self, operation: str) -> Exchange:
        self._links.check_open()
        if self._links.exchange is None:
            raise UsageError(operation, "the node has no name yet", "connect to the node that is to name it first")
        return self._links.exchange

    # --- being dialled -------------------------------------------------------------------------------------------

    def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        register: bool = True,
        epmd_port: int = 4369,
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
    ) -> int:
        """Be dialled at `host` ("::1", "0.0.0.0" ...); gives the port. With `register` the EPMD of this machine tells
        others of it for as long as the node lives, also after EPMD was started anew.

        `tls`: a context for the side that is dialled. Raises NotSent: the address is not to be had, or EPMD is not
        there; NameTaken: EPMD knows another node of the name; UsageError: the node has no name yet.
        """
        self._named("listen")
        check_address(host, port, "listen", self.name, least=0)
        check_address(host, epmd_port, "listen", self.name)
        check_wait(timeout, "listen", self.name, none=False)
        try:
            listener = self._runtime.listen(host, port)
        except OSError as error:
            raise NotSent("listen", f"{host}:{port}: {error.strerror or error}", node=self.name) from error
        except ValueError as error:
            raise NotSent("listen", f"{shown(host)} is no name of a host", node=self.name) from error
        door = Door(listener, self._runtime, lambda stream: self._links.welcome(stream, tls))
        self._doors.append(door)
        if register:
            entry = Registration(self._runtime, self.name, listener.port, self._hidden, host, epmd_port)
            try:
                entry.start(limit(timeout))
            except BaseException:
                door.close()
                self._doors.remove(door)
                raise
            self._doors.append(entry)
        return listener.port

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave: nobody dials us any more, connections end, mailboxes are closed."""
        doors, self._doors = self._doors, []
        for door in doors:
            door.close()
        self._links.close()


def connect(
    peer: str,
    *,
    host: str,
    port: int | None = None,
    epmd_port: int = 4369,
    local: str = "harness@harness",
    cookie: str,
    runtime: Runtime = THREADS,
    timeout: float = 5.0,
    ticktime: float = 60.0,
    tls: ssl.SSLContext | None = None,
    atom_cache: bool = False,
    limits: DecodeOptions | None = None,
    max_packet: int = MAX_PACKET,
    on_close: OnClose | None = None,
) -> Connection:
    """Connect as hidden node `local` to `peer` ("n1@n1"), dialling `host`:`port` (the name need not resolve).

    A node of one connection: see `Node` and `Node.connect`. Each has a creation of its own, so answers to an earlier
    connection under this name are dropped by the peer.
    """
    check_name(local)
    node = Node(
        local,
        cookie,
        runtime=runtime,
        ticktime=ticktime,
        tls=tls,
        atom_cache=atom_cache,
        limits=limits,
        max_packet=max_packet,
    )
    return node.connect(peer, host=host, port=port, epmd_port=epmd_port, timeout=timeout, on_close=on_close)
