"""Names for nodes that come without one."""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterable

from harness.dist.protocol.handshake import Named

_KEPT = 10_000


def new_creation() -> int:
    return 4 + secrets.randbelow(2**32 - 4)  # those below 4 are of nodes before OTP 23


class GivenNames:
    """Whoever hears a name keeps it in its atom table for good: one that nobody has any more is given again, with
    another creation, as net_kernel does.
    """

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._lent: set[str] = set()  # in a handshake that is not over

    def lend(self, host: str, connected: Container[str]) -> Named:
        """A name at `host` that none of the `connected` has; nobody else gets it until it is `settled`."""
        for name in self._known:
            if name.endswith(f"@{host}") and name not in connected and name not in self._lent:
                break
        else:
            name = f"n{secrets.token_hex(6)}@{host}"
            if len(self._known) < _KEPT:
                self._known[name] = None
        self._lent.add(name)
        return Named(name, new_creation())

    def settled(self, names: Iterable[str]) -> None:
        """Their handshakes are over: each has a connection now, or is nobody's."""
        self._lent.difference_update(names)
