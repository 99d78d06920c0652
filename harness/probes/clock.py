"""A node's clock as seen from here. On one host both are CLOCK_MONOTONIC and nothing is to be done.

Elsewhere (a remote engine, a virtual machine of Docker Desktop) the offset lies between what the two ends of a round
trip allow, and the shortest round trip tells most: Cristian, "Probabilistic clock synchronization", 1989.
"""

from __future__ import annotations


class Offset:
    """Narrowed by every exchange; ``offset_ns`` is 0 for as long as the same clock explains all of them."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._most: int | None = None

    def exchanged(self, sent: int, theirs: int, received: int) -> None:
        """Our time before asking, their time in the answer, our time after it (ns).

        An exchange that contradicts what was known means another clock (the node's host came up again): start anew.
        """
        least, most = theirs - received, theirs - sent
        if self._least is not None and self._most is not None:
            narrowed = max(least, self._least), min(most, self._most)
            if narrowed[0] <= narrowed[1]:
                least, most = narrowed
        self._least, self._most = least, most

    @property
    def offset_ns(self) -> int:
        """Their clock minus ours."""
        if self._least is None or self._most is None or self._least <= 0 <= self._most:
            return 0
        return (self._least + self._most) // 2

    @property
    def error_ns(self) -> int:
        """How far ``offset_ns`` may be off; 0 on one clock."""
        if self.offset_ns == 0 or self._least is None or self._most is None:
            return 0
        return (self._most - self._least + 1) // 2

    def ours(self, theirs: int) -> int:
        """Their time on our clock."""
        return theirs - self.offset_ns
