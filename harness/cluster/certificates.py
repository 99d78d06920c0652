"""Certificates of one run: an authority that nobody keeps, and what a node's container is given of it.

Private keys are in this process's memory and in the nodes' containers, which go with the run; never in its folder.
"""

from __future__ import annotations

import io
import tarfile

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.dist.tls import Credentials

FOLDER = "/etc/harness-tls"
FLAGS = f"-proto_dist inet_tls -ssl_dist_optfile {FOLDER}/ssl_dist.conf"
"""What makes ``erl`` use them; like all flags of ours they travel in ERL_ZFLAGS."""

_OURS = f'{{certfile, "{FOLDER}/cert.pem"}}, {{keyfile, "{FOLDER}/key.pem"}}, {{cacertfile, "{FOLDER}/ca.pem"}}'
_CONF = f"""\
[{{server, [{_OURS}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}},
 {{client, [{_OURS}, {{verify, verify_peer}}]}}].
"""


class Authority:
    """A certificate authority for as long as this object lives. Thread-safe."""

    def __init__(self) -> None:
        import trustme  # a tenth of a second, and its cryptography's memory: for runs that need it only

        self._authority = trustme.CA(organization_name="harness", organization_unit_name="one run")

    def credentials(self, *hosts: str) -> Credentials:
        """A certificate for these host names and addresses, good for dialling and for being dialled."""
        leaf = self._authority.issue_cert(*dict.fromkeys(hosts), common_name=hosts[0], organization_name="harness")
        (cert,) = leaf.cert_chain_pems
        pems = (self._authority.cert_pem, cert, leaf.private_key_pem)
        return Credentials(*(pem.bytes().decode() for pem in pems))


def deliver(engine: Engine, container_id: str, credentials: Credentials, node: str) -> None:
    """Put a node's files into its container, before it is started. Raises EnvironmentProblem."""
    try:
        engine.client.api.put_archive(container_id, "/", packed(credentials))
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("deliver certificates", error, node) from error


def packed(credentials: Credentials) -> bytes:
    """The files as tar, by their places below /. Whoever the node runs as in its container may read them."""
    files = {
        "ca.pem": credentials.ca,
        "cert.pem": credentials.cert,
        "key.pem": credentials.key,
        "ssl_dist.conf": _CONF,
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}".lstrip("/"))
            entry.size, entry.mode = len(text), 0o444
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()
