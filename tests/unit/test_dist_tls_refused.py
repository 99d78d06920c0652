"""Every way in which TLS is refused, on either side, with its reason and its line; credentials that cannot be used."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tls_pairs import HARNESS, NODE, OTHERS, VERSIONS, Raw, credentials, joined, left

from harness.dist import THREADS
from harness.dist.tls import Credentials, secured
from harness.errors import HandshakeRefused, HarnessError, NotSent, UsageError

LONG_AGO = {"not_before": datetime.datetime(2001, 1, 1), "not_after": datetime.datetime(2002, 1, 1)}


def refusal(outcome: Any) -> tuple[str, str]:
    assert isinstance(outcome, HandshakeRefused), outcome
    assert outcome.remedy
    return outcome.reason, str(outcome)


@pytest.mark.parametrize(
    ("node", "peer", "reason", "says"),
    [
        (credentials("n1", issuer=OTHERS), "n1@n1", "tls_authority", "an authority that is not trusted here"),
        (credentials("n1", **LONG_AGO), "n1@n1", "tls_expired", "the node's certificate has expired"),
        (credentials("n2"), "n1@n1", "tls_name", "for another host: Hostname mismatch"),
        (credentials("n1"), "n1@198.18.0.1", "tls_name", "for another host: IP address mismatch"),
    ],
)
def test_certificates_that_we_do_not_take(node: Credentials, peer: str, reason: str, says: str) -> None:
    dialling, dialled, _ = joined(HARNESS.client_context(), node.server_context(), peer)
    told, line = refusal(dialling)
    assert told == reason
    assert line.startswith(f"{peer}: tls: ")
    assert says in line
    assert isinstance(dialled, HarnessError) or dialled.recv(1) == b""  # never a stream that carries anything


def test_an_address_is_looked_for_as_an_address() -> None:
    node = credentials("198.18.0.1")
    dialling, dialled, _ = joined(HARNESS.client_context(), node.server_context(), "n1@198.18.0.1")
    dialling.sendall(b"x")
    assert dialled.recv(1) == b"x"


def test_a_name_need_not_be_looked_at() -> None:
    dialling, dialled, _ = joined(HARNESS.client_context(check_name=False), credentials("n2").server_context())
    dialling.sendall(b"x")
    assert dialled.recv(1) == b"x"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("ours", "says"),
    [
        (credentials("harness", issuer=OTHERS), "the node does not take our certificate: unknown ca"),
        (credentials("harness", **LONG_AGO), "the node does not take our certificate: certificate expired"),
        (None, "the node (wants|ends the TLS handshake: .*: most likely it wants) a certificate and none was given"),
    ],
)
def test_ours_is_not_taken(ours: Credentials | None, says: str, version: ssl.TLSVersion) -> None:
    """In TLS 1.3 the one who dials has finished before his certificate is looked at: he hears of it when he reads."""
    if ours is None:
        client = ssl.create_default_context(cadata=HARNESS.ca)
    else:
        client = ours.client_context()
    client.maximum_version = version
    dialling, dialled, _ = joined(client, NODE.server_context())
    assert isinstance(dialled, HandshakeRefused)
    if version is ssl.TLSVersion.TLSv1_3:
        with pytest.raises(OSError, match=says) as raised:
            dialling.recv(1)
        dialling = raised.value.refused("n1@n1")  # type: ignore[attr-defined]
    reason, line = refusal(dialling)
    assert reason == "tls_refused"
    assert re.search(says, line)
    assert ("our certificate" in line) == (ours is not None)


def test_what_a_peer_said_before_it_left_is_heard_when_writing_fails() -> None:
    client = credentials("harness", issuer=OTHERS).client_context()
    dialling, _, below = joined(client, NODE.server_context())
    below[1].close()
    with pytest.raises(OSError, match="unknown ca"):
        dialling.sendall(b"x")


@pytest.mark.parametrize("answer", [b"\x00\x03sok", b"HTTP/1.0 400 Bad Request\r\n", b""])
def test_a_peer_without_tls(answer: bytes) -> None:
    a, b = socket.socketpair()
    b.sendall(answer)
    b.shutdown(socket.SHUT_WR)
    with pytest.raises(HandshakeRefused, match="-proto_dist inet_tls") as raised:
        secured(Raw(a), HARNESS.client_context(), "n1@n1", THREADS, left)
    assert raised.value.reason == "tls_plain"


def test_a_silent_peer() -> None:
    a, b = socket.socketpair()
    with pytest.raises(NotSent, match="no answer in time; does it run with -proto_dist inet_tls"):
        secured(Raw(a), HARNESS.client_context(), "n1@n1", THREADS, lambda: 0.05)
    b.close()


# --- credentials ------------------------------------------------------------------------------------------------------


def test_credentials_of_a_folder_and_of_a_variable(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(getattr(HARNESS, name))
    assert Credentials.given(str(tmp_path)) == HARNESS
    assert Credentials.given(HARNESS.told()) == HARNESS
    assert "PRIVATE" not in repr(HARNESS)


def test_credentials_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none/ca\.pem: No such file or directory; name a folder with"):
        Credentials.read(tmp_path / "none")
    with pytest.raises(UsageError, match="is the key the certificate's"):
        Credentials(HARNESS.ca, HARNESS.cert, NODE.key).client_context()
    with pytest.raises(UsageError, match="cannot be used"):
        Credentials("", HARNESS.cert, HARNESS.key).client_context()
