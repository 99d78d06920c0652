"""A connection of a node, which hears of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.dist.connection import Connection
from harness.dist.exchange import Exchange
from harness.dist.runtime import Runtime, Stream
from harness.errors import ConnectionLost, HarnessError

OnClose = Callable[[HarnessError], None]


class Link(Connection):
    """A connection whose node hears of its end, whoever ended it."""

    def __init__(self, stream: Stream, runtime: Runtime, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        self._exchange = exchange
        self._to_tell: list[OnClose] = []
        self._why: HarnessError | None = None
        super().__init__(stream, runtime, *args, **kwargs, on_close=self._gone, on_message=exchange.receive)

    def close(self) -> None:
        super().close()
        self._exchange.lost(self, ConnectionLost("connection", "closed by this side", node=self.peer))

    def replaced(self) -> None:
        """The peer has connected anew: it has lost this connection, which we have not noticed yet."""
        if not self.closed:
            super().close()
            error = ConnectionLost("connection", "the node has connected anew", node=self.peer)
            self._runtime.spawn(lambda: self._gone(error), f"dist-close {self.peer}")

    def tell(self, on_close: OnClose) -> None:
        """Call it once when the connection is lost: now, if it was lost meanwhile."""
        self._to_tell.append(on_close)
        self._tell()

    def _gone(self, error: HarnessError) -> None:
        self._exchange.lost(self, error)
        self._why = error
        self._tell()

    def _tell(self) -> None:
        while self._why is not None and self._to_tell:
            try:
                on_close = self._to_tell.pop()
            except IndexError:  # another thread was faster
                return
            on_close(self._why)
