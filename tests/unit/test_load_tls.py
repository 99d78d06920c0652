"""How a Locust worker comes by certificates, and what it says without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plans import three_nodes

from harness.dist import THREADS
from harness.errors import UsageError
from harness.load.remote import run_worker
from harness.load.worker import Worker


def test_a_worker_without_certificates_says_what_it_lacks(tmp_path: Path) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    worker = Worker(lambda kind, data: sent.append((kind, data)), THREADS, "c", 1)
    target = {"node": "n1", "node_name": "n1@n1", "host": "127.0.0.1", "port": 1}
    worker.on_plan(
        {
            "name": "w1", "index": 1, "load": three_nodes().load.model_dump(mode="json"), "targets": [target],
            "seed": 1, "ticktime": 8, "tls": True, "segment": str(tmp_path / "ops-w1.seg"), "first_user": 0,
        }
    )  # fmt: skip
    assert [kind for kind, _ in sent] == ["harness_ready"]
    (problem,) = sent[0][1]["problems"]
    assert problem == "w1: the cluster's distribution is over TLS, and this worker has no certificate: --tls FOLDER"


def test_a_folder_without_certificates_is_refused_before_locust_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name a folder with ca\.pem, cert\.pem and key\.pem"):
        run_worker("127.0.0.1:5557", "c", tls=str(tmp_path))
