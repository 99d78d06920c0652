"""Certificates of a run, and what a node is given of them."""

from __future__ import annotations

import io
import re
import ssl
import tarfile

from tls_pairs import joined

from harness.cluster.certificates import FLAGS, FOLDER, Authority, packed
from harness.errors import HandshakeRefused


def test_nodes_of_one_run_know_each_other_by_host_and_by_address() -> None:
    run = Authority()
    harness, node = run.credentials("harness"), run.credentials("n1.lab", "n1.lab", "198.18.7.16")
    for peer in ("n1@n1.lab", "n1@198.18.7.16"):
        dialling, dialled, _ = joined(harness.client_context(), node.server_context(), peer)
        dialling.sendall(b"x")
        assert dialled.recv(1) == b"x"


def test_runs_do_not_know_each_other() -> None:
    node = Authority().credentials("n1")
    refused, _, _ = joined(Authority().credentials("harness").client_context(), node.server_context())
    assert isinstance(refused, HandshakeRefused)


def test_a_node_finds_its_files() -> None:
    credentials = Authority().credentials("n1")
    with tarfile.open(fileobj=io.BytesIO(packed(credentials))) as tar:
        files = {f"/{entry.name}": tar.extractfile(entry).read().decode() for entry in tar}  # type: ignore[union-attr]
        assert {entry.mode for entry in tar} == {0o444}  # whoever the node runs as
    conf = files[FLAGS.split()[-1]]
    named = set(re.findall(r'"(/[^"]+)"', conf))
    assert named == {f"{FOLDER}/{name}.pem" for name in ("ca", "cert", "key")}
    assert named < set(files)
    assert conf.count("verify_peer") == 2
    assert "{fail_if_no_peer_cert, true}" in conf
    ssl.create_default_context(cadata=files[f"{FOLDER}/ca.pem"])
