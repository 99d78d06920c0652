"""How the engine is found, from the environment and files alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.engine import Endpoint, endpoints, find_engine, unreachable
from harness.errors import EngineUnreachable


def make_context(home: Path, name: str, url: str, *, tls: bool = False) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker/contexts/meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": url}}}))
    if tls:
        (home / ".docker/contexts/tls" / digest / "docker").mkdir(parents=True)


def test_docker_host_is_the_only_candidate() -> None:
    assert endpoints({"DOCKER_HOST": "tcp://box:2375", "DOCKER_CONTEXT": "other"}) == [
        Endpoint("tcp://box:2375", "DOCKER_HOST")
    ]


def test_docker_host_with_tls_takes_the_certificates_of_its_folder() -> None:
    (found,) = endpoints({"DOCKER_HOST": "tcp://box:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"})
    assert found.tls == Path("/certs")
    assert found.remote_host == "box"


def test_named_context_wins_over_the_current_one(tmp_path: Path) -> None:
    make_context(tmp_path, "far", "ssh://me@far", tls=True)
    make_context(tmp_path, "near", "unix:///near.sock")
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "near"}')
    home = {"HOME": str(tmp_path)}
    assert endpoints(home)[0].socket_path == Path("/near.sock")
    (far,) = endpoints({**home, "DOCKER_CONTEXT": "far"})
    assert (far.url, far.remote_host) == ("ssh://me@far", "far")
    assert far.tls is not None


def test_default_context_and_broken_configuration_mean_the_default_sockets(tmp_path: Path) -> None:
    config = tmp_path / ".docker"
    config.mkdir()
    for text in ('{"currentContext": "default"}', "{", "[]"):
        (config / "config.json").write_text(text)
        assert endpoints({"HOME": str(tmp_path)})[0].source == "default socket"


def test_rootless_and_podman_sockets_are_found(tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    for name in ("docker.sock", "podman/podman.sock"):
        (tmp_path / name).touch()
    found = [endpoint.url for endpoint in endpoints({"XDG_RUNTIME_DIR": str(tmp_path)})]
    assert found[-2:] == [f"unix://{tmp_path}/docker.sock", f"unix://{tmp_path}/podman/podman.sock"]


def test_unknown_context_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match="docker context 'gone' cannot be read"):
        endpoints({"HOME": str(tmp_path), "DOCKER_CONTEXT": "gone"})


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "bogus://x", "tcp://127.0.0.1:1:1"])
def test_no_engine_exits_4_and_names_who_pointed_there(url: str) -> None:
    with pytest.raises(EngineUnreachable) as raised:
        find_engine({"DOCKER_HOST": url})
    assert raised.value.exit_code == 4
    assert "DOCKER_HOST" in raised.value.remedy
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("Permission denied", "docker group"),
        ("Connection refused", "service docker start"),
        ("No such file or directory", "apt-get install docker.io"),
    ],
)
def test_the_remedy_fits_the_cause(cause: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert remedy in unreachable([(Endpoint("unix:///var/run/docker.sock", "default socket"), cause)]).remedy


def test_folders_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user's home (``sudo -u``, setpriv): what is there is nobody's engine of ours."""
    stat = os.stat

    def forbidden(path: str | Path, *args: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", forbidden)
    found = endpoints({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert {endpoint.source for endpoint in found} == {"default socket"}
    assert not any(str(tmp_path) in endpoint.url for endpoint in found)


def test_a_context_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_context(tmp_path, "far", "ssh://me@far")

    def forbidden(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert endpoints({"HOME": str(tmp_path)})[0].source == "default socket"  # nor which context is the current one
    with pytest.raises(EngineUnreachable, match=r"'far' may not be read by us; let this user read .*contexts"):
        endpoints({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})
