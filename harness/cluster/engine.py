"""The container engine, found as the ``docker`` command finds it.

Order: ``DOCKER_HOST``; the context of ``DOCKER_CONTEXT`` or of ``config.json``; else the sockets an engine listens
on by default: system-wide Docker, rootless Docker, Docker Desktop, Podman.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from harness.errors import EngineUnreachable, EnvironmentProblem

_INSTALL = "install and start one: apt-get install docker.io && service docker start"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine may answer. ``source`` says who named it."""

    url: str
    source: str
    tls: Path | None = field(default=None)

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket, None for engines reached otherwise."""
        return Path(self.url.removeprefix("unix://")) if self.url.startswith("unix://") else None

    @property
    def remote_host(self) -> str:
        """The engine's host for tcp:// and ssh://, empty for a socket of this machine."""
        return "" if self.socket_path else urlsplit(self.url).hostname or ""


class Engine:
    """A reachable engine. ``client`` is the Docker SDK's, for this room only."""

    def __init__(self, client: docker.DockerClient, endpoint: Endpoint) -> None:
        self.client = client
        self.endpoint = endpoint

    @property
    def remote_host(self) -> str:
        return self.endpoint.remote_host

    def describe(self) -> str:
        """The engine in one line."""
        facts = self.facts()
        return f"{facts['version']} at {facts['endpoint']} ({facts['os']}, Linux {facts['kernel']})"

    def facts(self) -> dict[str, str]:
        """Version, operating system, kernel and architecture of the engine's host, for doctor and ``env.json``."""
        info: dict[str, Any] = self.client.info()
        return {
            "endpoint": self.endpoint.url,
            "version": str(info.get("ServerVersion", "")),
            "os": str(info.get("OperatingSystem", "")),
            "kernel": str(info.get("KernelVersion", "")),
            "architecture": str(info.get("Architecture", "")),
            "cpus": str(info.get("NCPU", "")),
        }

    def bridge_reachable(self, gateway: str) -> bool:
        """Whether a network's gateway address is one of this machine's own: then its containers can be dialled."""
        if self.remote_host:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((gateway, 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    return False
                raise
        return True

    def close(self) -> None:
        self.client.close()


def find_engine(environ: Mapping[str, str] | None = None) -> Engine:
    """The engine the ``docker`` command would talk to. Raises EngineUnreachable (exit 4) saying what to do."""
    candidates = endpoints(os.environ if environ is None else environ)
    refusals: list[tuple[Endpoint, str]] = []
    for endpoint in candidates:
        try:
            return _connect(endpoint)
        except (DockerException, requests.RequestException, OSError, ValueError) as error:
            refusals.append((endpoint, _cause(error)))
    raise unreachable(refusals)


def endpoints(environ: Mapping[str, str]) -> list[Endpoint]:
    """Where to try, best first. An explicit choice is the only one."""
    if host := environ.get("DOCKER_HOST", ""):
        tls = Path(environ.get("DOCKER_CERT_PATH") or _config_dir(environ))
        return [Endpoint(host, "DOCKER_HOST", tls if environ.get("DOCKER_TLS_VERIFY") else None)]
    name = environ.get("DOCKER_CONTEXT") or _current_context(environ)
    if name and name != "default":
        return [_context(environ, name)]
    home, runtime = environ.get("HOME", ""), environ.get("XDG_RUNTIME_DIR", "")
    sockets = ["/var/run/docker.sock"]
    sockets += [f"{runtime}/docker.sock"] if runtime else []
    sockets += [f"{home}/.docker/run/docker.sock", f"{home}/.docker/desktop/docker.sock"] if home else []
    sockets += [f"{runtime}/podman/podman.sock"] if runtime else []
    sockets += ["/run/podman/podman.sock"]
    existing = [path for path in sockets if _visible(Path(path))]
    return [Endpoint(f"unix://{path}", "default socket") for path in existing or sockets[:1]]


def _visible(path: Path) -> bool:
    """Whether it is there and may be looked at: the home of another user (``sudo -u``) may not."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _config_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")


def _current_context(environ: Mapping[str, str]) -> str:
    try:
        config = json.loads((_config_dir(environ) / "config.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(config.get("currentContext", "")) if isinstance(config, dict) else ""


def _context(environ: Mapping[str, str], name: str) -> Endpoint:
    digest = hashlib.sha256(name.encode()).hexdigest()
    folder = _config_dir(environ) / "contexts"
    try:
        meta = json.loads((folder / "meta" / digest / "meta.json").read_text())
        url = str(meta["Endpoints"]["docker"]["Host"])
    except PermissionError as error:
        remedy = f"let this user read {folder}, or name the engine in DOCKER_HOST"
        raise EngineUnreachable("find engine", f"docker context {name!r} may not be read by us", remedy) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineUnreachable(
            "find engine", f"docker context {name!r} cannot be read", "docker context ls shows those there are"
        ) from error
    tls = folder / "tls" / digest / "docker"
    return Endpoint(url, f"docker context {name!r}", tls if _visible(tls) else None)


def _connect(endpoint: Endpoint) -> Engine:
    tls: TLSConfig | bool = False
    if endpoint.tls:
        pair = (str(endpoint.tls / "cert.pem"), str(endpoint.tls / "key.pem"))
        authority = endpoint.tls / "ca.pem"
        tls = TLSConfig(client_cert=pair, ca_cert=str(authority) if authority.exists() else None, verify=True)
    client = docker.DockerClient(
        base_url=endpoint.url, version="auto", timeout=120, tls=tls, max_pool_size=64, use_ssh_client=True
    )
    try:
        client.ping()
    except BaseException:
        client.close()
        raise
    return Engine(client, endpoint)


def _cause(error: BaseException) -> str:
    """The innermost reason, in the operating system's words where it has some."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno and seen.strerror:
            return seen.strerror
        inner = [part for part in seen.args if isinstance(part, BaseException)]
        seen = seen.__cause__ or seen.__context__ or (inner[0] if inner else None)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def unreachable(refusals: list[tuple[Endpoint, str]]) -> EngineUnreachable:
    """The error for engines that did not answer, each with its cause, and what mends that."""
    told = ", ".join(f"{endpoint.url} ({endpoint.source}): {cause}" for endpoint, cause in refusals)
    causes = {cause for _, cause in refusals}
    endpoint = refusals[0][0]
    startable = False
    if os.strerror(errno.EACCES) in causes:
        remedy = "join the docker group: sudo usermod -aG docker $USER, then log in again (newgrp docker)"
    elif endpoint.url.startswith("ssh://"):
        remedy = "ssh to that host must work without a password, and pip install 'docker[ssh]' here"
    elif endpoint.source != "default socket":
        remedy = f"start the engine there, or unset what names it ({endpoint.source})"
    elif sys.platform == "darwin":
        remedy = "install and start Docker Desktop"
    elif os.strerror(errno.ECONNREFUSED) in causes:
        startable, remedy = True, "start it: service docker start (or systemctl start docker)"
    else:
        startable = True
        remedy = f"{_INSTALL}; harness doctor --fix does it on Debian and Ubuntu"
    error = EngineUnreachable("find engine", f"no container engine answers: {told}", remedy)
    error.startable = startable
    return error


def engine_said(error: Exception) -> str:
    """What the engine said, in one line."""
    if isinstance(error, APIError):
        return str(error.explanation or error).strip()
    return _cause(error)


def engine_failed(operation: str, error: Exception, node: str = "") -> EnvironmentProblem:
    """An engine's refusal as an error of ours."""
    return EnvironmentProblem(operation, engine_said(error), "harness doctor checks the engine", node=node)
