"""A container for one question: it is gone when the answer is there, and when nobody waits for it any more."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from docker.errors import NotFound

from harness.cluster.engine import Engine


def ask(engine: Engine, image: str, command: Sequence[str], **options: Any) -> bytes:
    """What the command prints in a container of its own (its exit status is not looked at).

    ``options`` as for docker-py's ``containers.create``. Raises docker's and requests' errors as they are. The
    container has a name that is known before it exists, so that whatever interrupts this, it can be removed.
    """
    name = f"harness-ask-{secrets.token_hex(6)}"
    api = engine.client.api
    try:
        container = engine.client.containers.create(image, list(command), name=name, **options)
        container.start()
        container.wait()
        said: bytes = container.logs(stdout=True, stderr=False)
        return said
    finally:
        with contextlib.suppress(NotFound):  # it was never made
            api.remove_container(name, force=True, v=True)
