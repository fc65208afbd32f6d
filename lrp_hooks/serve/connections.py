"""Connections of the explorer: those that say nothing make room for those that ask."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection"]

SECONDS_TO_ASK = 10.0


class Connection(H11Protocol):
    """A connection that is closed where no whole request head comes in time.

    Where there are too many, the one that has waited longest for a request goes first.
    """

    _late: asyncio.TimerHandle
    _since: float

    def connection_made(self, transport: Any) -> None:
        """Wait for a first request.

        Args:
            transport: As asyncio has it.
        """
        super().connection_made(transport)
        self._await_request()
        self._make_room()

    def handle_events(self) -> None:
        """Read what has come; wait no longer where it is a request."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._late.cancel()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        self._await_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer.

        Args:
            exc: As asyncio has it.
        """
        self._late.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._since = self.loop.time()
        self._late = self.loop.call_later(SECONDS_TO_ASK, self.transport.abort)

    def _make_room(self) -> None:
        most = self.limit_concurrency
        known = [c for c in self.connections if isinstance(c, Connection)]
        others = [c for c in known if c is not self and _asks_nothing(c)]
        others.sort(key=lambda other: other._since, reverse=True)
        while others and most is not None and len(self.connections) >= most:
            other = others.pop()
            self.connections.discard(other)
            other.transport.abort()


def _asks_nothing(connection: Connection) -> bool:
    """Tell whether a request, its body included, is still to come."""
    cycle = connection.cycle
    return cycle is None or cycle.response_complete or cycle.more_body
