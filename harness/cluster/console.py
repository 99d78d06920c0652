"""An operator's Erlang shell in a kept cluster."""

from __future__ import annotations

import os
import shutil

import requests
from docker.errors import DockerException

from harness.cluster.engine import Engine, engine_failed
from harness.cluster.labels import NODE, ROLE, RUN
from harness.errors import EnvironmentProblem

# A hidden node beside the one it talks to. The cookie comes from the container, so it is not in the command typed here;
# the VM's own arguments show it wherever the container's processes can be listed, whichever way it is handed over.
# epmd and the address are the node's own; the name says who is there. A release may bring its own erl.
# The shell runs in the node, so that q() there is the node's own init:stop(): it is told before somebody types it.
_SHELL = """
case "${NODE_NAME#*@}" in *.*) how=-name ;; *) how=-sname ;; esac
erl=$(command -v erl || find / -path '*/erts-*/bin/erl' -type f 2>/dev/null | head -n 1)
echo "This shell is $NODE_NAME's: Ctrl-G then q, or Ctrl-C twice, leaves it; q() would stop $NODE_NAME."
exec "$erl" -hidden "$how" "$0@${NODE_NAME#*@}" -setcookie "$NODE_COOKIE" -remsh "$NODE_NAME"
"""


def console_command(engine: Engine, run_id: str, node: str = "") -> list[str]:
    """The command that opens a shell on a running node of the run (the first one, or ``node``).

    Raises EnvironmentProblem when none runs or there is no docker command.
    """
    wanted = [f"{RUN}={run_id}", f"{ROLE}=node", *([f"{NODE}={node}"] if node else [])]
    try:
        found = engine.client.api.containers(filters={"label": wanted, "status": "running"})
    except (DockerException, requests.RequestException) as error:
        raise engine_failed("find nodes", error) from error
    if not found:
        raise EnvironmentProblem("console", f"no node of run {run_id} is running", "harness run --keep always FILE")
    tool = shutil.which("docker") or shutil.which("podman")
    if tool is None:
        raise EnvironmentProblem("console", "there is no docker command", "apt-get install docker.io")
    names = {str(one["Labels"][NODE]): str(one["Names"][0]).lstrip("/") for one in found}
    container = names[min(names)]
    where = ["--host", engine.endpoint.url] if tool.endswith("docker") and not engine.endpoint.tls else []
    return [tool, *where, "exec", "-it", container, "sh", "-c", _SHELL, f"console{os.getpid()}"]
