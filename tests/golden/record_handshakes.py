"""Record what real nodes say in a handshake, one file per branch and OTP. See README.md beside this file.

    python -m tests.golden.record_handshakes

starts two nodes of each OTP. As initiator we dial the first; in the branches of simultaneous connects we do so under
the name of the second, which is stopped while the first dials it. As acceptor we are dialled by the first: it finds
us in its hosts file and through a small EPMD of ours at the address of the network's bridge.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.dist import Connection
from harness.dist.protocol.epmd import NodeEntry, PortReader, port_please
from harness.dist.protocol.flags import HIDDEN, MANDATORY_25, Flag
from harness.dist.protocol.handshake import Acceptor, Established, Identity, Initiator, Named, Refused
from harness.errors import HandshakeRefused
from harness.etf import Atom
from tests.integration.images import erlang_image
from tests.nodes import COOKIE, ErlangNode, erlang_nodes

CHALLENGE, CREATION = 0x0BADCAFE, 0x01020304
HERE = "recorder@here"

Handshake = Initiator | Acceptor


def record(branch: str, otp: int, sock: socket.socket, handshake: Handshake, **told: Any) -> None:
    """Go through the handshake on `sock`, write down both sides' bytes and what came of it."""
    said: list[tuple[str, str]] = []
    local = handshake.local

    def send(data: bytes) -> None:
        said.append(("us", data.hex()))
        sock.sendall(data)

    if isinstance(handshake, Initiator):
        send(handshake.start())
    outcome, named = "", None
    while not outcome:
        data = sock.recv(4096)
        said.append(("node", data.hex()))
        try:
            if not data:
                raise handshake.eof()
            for event in handshake.receive(data):
                match event:
                    case Established():
                        outcome, named = "established", [event.local, event.local_creation]
                    case Refused(error):
                        outcome = error.reason
                    case _:
                        send(event.data)
        except HandshakeRefused as refused:
            outcome = refused.reason
    told = {
        "otp": otp,
        "branch": branch,
        "peer": handshake.peer,
        "cookie": local.cookie,
        "flags": int(local.flags),
    } | told
    told |= {"local": local.name, "creation": local.creation, "challenge": CHALLENGE, "outcome": outcome}
    path = Path(__file__).parent / "handshake" / f"{branch}-otp{otp}.json"
    path.write_text(json.dumps({**told, "named": named, "said": said}, indent=1) + "\n")
    print(path.stem, outcome)


# --- we dial ----------------------------------------------------------------------------------------------------------


def dial(node: ErlangNode) -> socket.socket:
    with socket.create_connection((node.address, 4369), 5) as sock:
        sock.sendall(port_please(node.host))
        entry = PortReader().receive(sock.recv(4096))
    assert isinstance(entry, NodeEntry)
    return socket.create_connection((node.address, entry.port), 10)


def initiate(
    branch: str, node: ErlangNode, *, name: str = HERE, cookie: str = COOKIE, flags: int = HIDDEN, insist: bool = True
) -> socket.socket:
    identity = Identity(name, cookie, CREATION, flags)
    sock = dial(node)
    handshake = Initiator(identity, node.name, CHALLENGE, insist=insist)
    record(branch, node.otp, sock, handshake, local=name, role="initiator", insist=insist)
    return sock


def initiator_branches(node: ErlangNode) -> None:
    first = initiate("ok", node)
    initiate("alive_false", node, insist=False).close()
    initiate("alive", node).close()
    first.close()
    initiate("wrong_cookie", node, cookie="not the cookie").close()
    initiate("flags", node, flags=HIDDEN & MANDATORY_25 & ~0x4).close()
    initiate("flags_of_otp26", node, name="old@here", flags=MANDATORY_25).close()
    initiate(
        "flags_digest", node, name="brief@here", flags=Flag.MANDATORY_25_DIGEST | Flag.UNLINK_ID | Flag.V4_NC
    ).close()
    initiate("named", node, name="here").close()


def simultaneous_branches(low: ErlangNode, high: ErlangNode) -> None:
    for branch, ours, theirs in (("nok", low, high), ("ok_simultaneous", high, low)):
        with contextlib.closing(theirs.connect()) as link, stopped(ours):
            link.cast("net_kernel", "connect_node", [Atom(ours.name)])
            while not link.rpc("ets", "lookup", [Atom("sys_dist"), Atom(ours.name)]):
                pass
            initiate(branch, theirs, name=ours.name).close()


@contextlib.contextmanager
def stopped(node: ErlangNode) -> Iterator[None]:
    node.container.pause()
    try:
        yield
    finally:
        node.container.unpause()


# --- we are dialled ---------------------------------------------------------------------------------------------------


class Door:
    """A listener of ours and an EPMD that knows no other, at the gateway of the nodes' network."""

    def __init__(self, node: ErlangNode) -> None:
        self.gateway = node.address.rpartition(".")[0] + ".1"
        node.container.exec_run(["sh", "-c", f"echo {self.gateway} here >> /etc/hosts"])
        self._listener = socket.create_server((self.gateway, 0))
        self.port: int = self._listener.getsockname()[1]
        self._epmd = socket.create_server((self.gateway, 4369))
        threading.Thread(target=self._serve_epmd, daemon=True).start()

    def _serve_epmd(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                sock, _ = self._epmd.accept()
                with sock:
                    name = sock.recv(4096)[3:]
                    sock.sendall(struct.pack(">BBHBBHHH", 119, 0, self.port, 77, 0, 6, 6, len(name)) + name + b"\0\0")

    def accept(self, dial_us: Callable[[], None]) -> socket.socket:
        self._listener.settimeout(3)
        for _ in range(5):
            dial_us()
            with contextlib.suppress(TimeoutError):  # it took this for a part of the attempt before
                return self._listener.accept()[0]
        raise AssertionError("not dialled")

    def close(self) -> None:
        self._listener.close()
        self._epmd.close()


def acceptor_branches(node: ErlangNode, door: Door, dial_us: Callable[[], None]) -> None:
    for answer in ("ok", "ok_simultaneous", "alive", "not_allowed"):
        accept(f"accepted_{answer}", node.otp, door, dial_us, answer)
    accept("accepted_wrong_cookie", node.otp, door, dial_us, "ok", "not the cookie")
    accept("accepted_nok", node.otp, door, dial_us, "nok")  # the last: the node waits some seconds for our own attempt


def accept(
    branch: str, otp: int, door: Door, dial_us: Callable[[], None], answer: str | Named, cookie: str = COOKIE
) -> None:
    told = [answer.name, answer.creation] if isinstance(answer, Named) else answer
    with door.accept(dial_us) as sock:
        handshake = Acceptor(Identity(HERE, cookie, CREATION), CHALLENGE, answer)
        record(branch, otp, sock, handshake, role="acceptor", answer=told)


def dialled_branches(node: ErlangNode, link: Connection) -> None:
    with contextlib.closing(Door(node)) as door:
        acceptor_branches(node, door, lambda: link.cast("net_kernel", "connect_node", [Atom(HERE)]))
        accepted_named(node, door)


def accepted_named(node: ErlangNode, door: Door) -> None:
    """What our side takes for established is not enough here: a node may die of a name that it does not expect."""
    name = Named(f"given@{node.host}", 77)
    said = "/tmp/connected"
    script = f"true = net_kernel:connect_node('{HERE}'), ok = file:write_file('{said}', atom_to_list(node())), halt()."
    run = (
        f"erl -noinput -sname undefined -setcookie {COOKIE} -start_epmd false -erl_epmd_port {door.port} -eval".split()
    )
    accept("accepted_named", node.otp, door, lambda: node.container.exec_run([*run, script], detach=True), name)
    deadline = time.monotonic() + 30
    while node.container.exec_run(["cat", said]).output.decode() != name.name:
        assert time.monotonic() < deadline, "the node did not take its name"
        time.sleep(0.1)


def main() -> None:
    for otp in (25, 27):
        with erlang_nodes(erlang_image) as start:
            low, high = start(otp), start(otp)
            initiator_branches(low)
            simultaneous_branches(low, high)
            with contextlib.closing(high.connect()) as link:
                dialled_branches(high, link)
                link.rpc("erlang", "set_cookie", [Atom("french@here"), Atom("caf\u00e9")])
                initiate("latin1_cookie", high, name="french@here", cookie="caf\u00e9").close()
                link.rpc("net_kernel", "allow", [[Atom("other@host")]])
            initiate("not_allowed", high).close()


if __name__ == "__main__":
    main()
