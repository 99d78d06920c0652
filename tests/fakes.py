"""Stand-ins for what a unit test cannot have: the far side of a distribution connection, a fault without a cluster."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from harness.dist.protocol.framing import TICK, Deframer, frame
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Refused
from harness.errors import HandshakeRefused
from harness.etf import Atom, Pid, Reference, Term, decode, encode
from harness.faults.fault import Evidence


@contextlib.contextmanager
def nobody_listens() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class FakePeer:
    """A node on loopback that speaks the real handshake and then does what `script` says with the connection.

    `status`: what who dials is told; several, with commas between, one after the other, the last for good.
    """

    name = "fake@fake"

    def __init__(self, script: Callable[[FakeLink], None], *, cookie: str = "c", status: str = "ok") -> None:
        self._script = script
        self._identity = Identity(self.name, cookie, 77)
        self._statuses = deque(status.split(","))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while not self._met():
                pass

    def _met(self) -> bool:
        """Whether the next who dials was let in (and the script is through)."""
        sock, _ = self._listener.accept()
        status = self._statuses.popleft() if len(self._statuses) > 1 else self._statuses[0]
        with sock, contextlib.suppress(HandshakeRefused):
            acceptor = Acceptor(self._identity, 4711, status)
            while data := sock.recv(4096):
                for event in acceptor.receive(data):
                    if isinstance(event, Established):
                        self._script(FakeLink(sock, event.rest))
                        return True
                    if isinstance(event, Refused):
                        return False
                    sock.sendall(event.data)
        return False

    def __enter__(self) -> FakePeer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # wakes an accept(), which close() alone does not
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)
        assert not self._thread.is_alive()


class FakeLink:
    """The established connection, seen from the peer."""

    def __init__(self, sock: socket.socket, rest: bytes) -> None:
        self.sock = sock
        self._deframe = Deframer()
        self._packets = self._deframe.receive(rest)

    def packet(self) -> bytes | None:
        """The next packet (b"" is a tick); None once the other side has closed."""
        while not self._packets:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._packets += self._deframe.receive(data)
        return self._packets.pop(0)

    def message(self) -> tuple[Term, Term] | None:
        """The next control message and what it carries; ticks are skipped."""
        while (packet := self.packet()) is not None:
            if packet:
                control, end = decode(packet, 2)
                return control, decode(packet, end + 1)[0] if end < len(packet) else None
        return None

    def call(self) -> tuple[Pid, Reference, str, str, list[Term]] | None:
        """The next call to rex: who asks, its reference, module, function, arguments."""
        got = self.message()
        if got is None:
            return None
        _tag, (pid, ref), (_call, module, function, args, _leader) = got[1]
        return pid, ref, module, function, args

    def reply(self, pid: Pid, ref: Reference, result: Term) -> None:
        self.send((2, Atom(""), pid), (ref, result))

    def send(self, control: Term, message: Term) -> None:
        self.sock.sendall(frame(b"p\x83", encode(control), b"\x83", encode(message)))

    def tick(self) -> None:
        self.sock.sendall(TICK)


class ScriptedFault:
    """A fault on nothing: notes its verbs, and fails where it is told to."""

    targets = ("n1",)
    separates = frozenset({("n1", "n2"), ("n2", "n1")})

    def __init__(self, **raises: Exception) -> None:
        self.verbs: list[str] = []
        self.bites = self.heals = True
        self.raises = raises
        self.injecting = threading.Event()
        self.may_inject = threading.Event()
        self.may_inject.set()

    def _verb(self, verb: str) -> None:
        self.verbs.append(verb)
        if verb in self.raises:
            raise self.raises[verb]

    def prepare(self) -> None:
        self._verb("prepare")

    def inject(self) -> None:
        self.injecting.set()
        assert self.may_inject.wait(120)
        self._verb("inject")

    def bit(self) -> Evidence:
        self._verb("bit")
        return Evidence(self.bites, {"seen": "bite"}, 17)

    def heal(self) -> None:
        self._verb("heal")

    def healed(self) -> Evidence:
        self._verb("healed")
        return Evidence(self.heals)


class ScriptedNode:
    """A cluster node without a container: answers rpc from ``answers["module:function"]``.

    An exception is raised, a function is called with the arguments; ``calls`` keeps what was asked.
    """

    def __init__(self, name: str, answers: Mapping[str, Any]) -> None:
        self.name, self.node_name = name, f"{name}@{name}"
        self.foreign = False
        self.answers = dict(answers)
        self.calls: list[tuple[str, list[Term]]] = []

    def rpc(self, module: str, function: str, args: Sequence[Term] = (), timeout: float | None = 5.0) -> Term:
        call = f"{module}:{function}"
        self.calls.append((call, list(args)))
        answer = self.answers[call]
        if callable(answer):
            answer = answer(*args)
        if isinstance(answer, Exception):
            raise answer
        return answer


def scripted_cluster(*nodes: ScriptedNode) -> Any:
    """What probes use of a cluster: its nodes."""
    return SimpleNamespace(nodes={node.name: node for node in nodes}, probe_modules=dict)
