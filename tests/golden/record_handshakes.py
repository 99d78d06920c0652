"""Record what real nodes say in a handshake, one file per branch and OTP. See README.md beside this file.

    python -m tests.golden.record_handshakes OTP ADDRESS NODE COOKIE

ADDRESS is where the node NODE (its epmd on 4369) can be dialled.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from harness.dist.epmd import NodeEntry, PortReader, port_please
from harness.dist.handshake import HIDDEN, MANDATORY, Established, Identity, Initiator
from harness.errors import HandshakeRefused

CHALLENGE, CREATION = 0x0BADCAFE, 0x01020304


def record(
    branch: str, otp: str, address: str, port: int, node: str, cookie: str, flags: int = HIDDEN
) -> socket.socket:
    identity = Identity("recorder@here", cookie, CREATION, flags)
    handshake = Initiator(identity, node, CHALLENGE)
    sock = socket.create_connection((address, port), 5)
    said: list[tuple[str, str]] = []

    def send(data: bytes) -> None:
        said.append(("us", data.hex()))
        sock.sendall(data)

    send(handshake.start())
    outcome = ""
    while not outcome:
        data = sock.recv(4096)
        said.append(("node", data.hex()))
        try:
            if not data:
                raise handshake.eof()
            for event in handshake.receive(data):
                if isinstance(event, Established):
                    outcome = "established"
                else:
                    send(event.data)
        except HandshakeRefused as refused:
            outcome = refused.reason
    told = {"otp": int(otp), "branch": branch, "peer": node, "cookie": cookie, "flags": int(flags)}
    told |= {"local": identity.name, "creation": CREATION, "challenge": CHALLENGE, "outcome": outcome}
    path = Path(__file__).parent / "handshake" / f"{branch}-otp{otp}.json"
    path.write_text(json.dumps({**told, "said": said}, indent=1) + "\n")
    return sock


def main(otp: str, address: str, node: str, cookie: str) -> None:
    with socket.create_connection((address, 4369), 5) as sock:
        sock.sendall(port_please(node.partition("@")[0]))
        entry = PortReader().receive(sock.recv(4096))
    assert isinstance(entry, NodeEntry)
    port = entry.port
    first = record("ok", otp, address, port, node, cookie)
    record("alive", otp, address, port, node, cookie).close()
    first.close()
    record("wrong_cookie", otp, address, port, node, "not the cookie").close()
    record("not_allowed", otp, address, port, node, cookie, MANDATORY & ~0x4).close()


if __name__ == "__main__":
    main(*sys.argv[1:])
