"""Being dialled: a door that lets streams in, and the entry at EPMD that tells others where it is."""

from __future__ import annotations

from collections.abc import Callable

from harness.dist.dial import Left, ask, dial, limit
from harness.dist.protocol import epmd
from harness.dist.runtime import Listener, Runtime, Stream
from harness.errors import DecodeError, NameTaken, NotSent

_AT_ONCE = 64  # handshakes under way that others began; who comes then waits in the kernel's queue
_AGAIN = 1.0  # s until EPMD is asked again after it went away, or a door opened again after files ran out
_PATIENCE = 5.0  # s for one answer of EPMD
_NOTICED = 0.5  # s after which EPMD has noticed the end of a node on its machine
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "localhost"}


class Door:
    """Hands each stream that comes in to `welcome`, in a thread (or greenlet) of its own; to 64 at once at most."""

    def __init__(self, listener: Listener, runtime: Runtime, welcome: Callable[[Stream], None]) -> None:
        self._listener = listener
        self._runtime = runtime
        self._welcome = welcome
        self._closed = runtime.parker()
        self._inside: set[Stream] = set()
        self._left = runtime.parker()
        self._open = True
        runtime.spawn(self._serve, f"dist-listen {listener.port}")

    def close(self) -> None:
        self._open = False
        self._closed.unpark()
        self._left.unpark()
        self._listener.close()

    def _serve(self) -> None:
        while self._open:
            if len(self._inside) >= _AT_ONCE:
                self._left.park()
                continue
            try:
                stream = self._listener.accept()
            except OSError:  # closed; or out of descriptors, which passes
                if self._open:
                    self._closed.park(_AGAIN)
                continue
            self._inside.add(stream)
            self._runtime.spawn(lambda stream=stream: self._let_in(stream), "dist-welcome")  # type: ignore[misc]

    def _let_in(self, stream: Stream) -> None:
        try:
            self._welcome(stream)
        finally:
            self._inside.discard(stream)
            self._left.unpark()


class Registration:
    """The name `name` at the EPMD of the machine that listens at `host`. It lasts while the connection to EPMD does;
    when that ends, the name is registered again as soon as there is an EPMD.
    """

    def __init__(self, runtime: Runtime, name: str, port: int, hidden: bool, host: str, epmd_port: int) -> None:
        self._runtime = runtime
        self._name = name
        self._request = epmd.register(name.partition("@")[0], port, hidden=hidden)
        self._host = _WILDCARDS.get(host, host)
        self._epmd_port = epmd_port
        self._stream: Stream | None = None
        self._closed = runtime.parker()
        self._open = True

    def start(self, left: Left) -> None:
        """Raises NameTaken, and NotSent: there is no EPMD."""
        try:
            self._register(left)
        except NameTaken:  # EPMD may still have to notice that who had the name before is gone
            self._closed.park(_NOTICED)
            self._register(left)
        self._runtime.spawn(self._keep, f"dist-epmd {self._name}")

    def close(self) -> None:
        self._open = False
        self._closed.unpark()
        if self._stream is not None:
            self._stream.close()

    def _register(self, left: Left) -> None:
        stream = dial(self._name, self._host, self._epmd_port, self._runtime, left)
        where = f"{self._host}:{self._epmd_port}"
        try:
            answer = ask(stream, self._request, epmd.RegisterReader().receive, left)
        except (OSError, DecodeError) as error:
            stream.close()
            raise NotSent("epmd", f"{where}: {error}", node=self._name) from error
        if not isinstance(answer, epmd.Registered):
            stream.close()
            remedy = "a node of this name runs on this machine, or did a moment ago"
            raise NameTaken("epmd", f"{where} does not register the name", remedy, node=self._name)
        stream.settimeout(None)
        self._stream = stream
        if not self._open:  # closed meanwhile
            stream.close()

    def _keep(self) -> None:
        while self._open:
            stream = self._stream
            try:
                while stream is not None and stream.recv(64):
                    pass  # it has nothing to say
            except OSError:
                pass
            if stream is not None:
                stream.close()
                self._stream = None
            if self._open and not self._closed.park(_AGAIN):
                try:
                    self._register(limit(_PATIENCE))
                except NotSent:
                    continue
