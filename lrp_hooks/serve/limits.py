"""How much one client gets: bytes, seconds and requests a minute."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from starlette.requests import Request

from .refusal import Refusal

__all__ = ["Rate", "read_body"]

LARGEST_BODY = 256 * 1024
# A client that is still sending does not see the answer, so the rest is read, too.
DRAINED = 32
SECONDS_TO_SEND = 10.0


async def read_body(request: Request, largest: int = LARGEST_BODY) -> bytes:
    """Read a request's body, whatever its head says of the length.

    Args:
        request: The request.
        largest: How many bytes it has at most.

    Returns:
        The body.

    Raises:
        Refusal: If the body is too large or too slow.
    """
    try:
        body, size = await asyncio.wait_for(_read(request, largest), SECONDS_TO_SEND)
    except asyncio.TimeoutError as error:
        raise Refusal(
            408, f"the request took longer than {SECONDS_TO_SEND:g} seconds. Try again."
        ) from error
    if size > largest:
        raise Refusal(
            413,
            f"the request is larger than {largest // 1024} kB. Shorten the text, or "
            "explain it piece by piece; take a smaller picture.",
        )
    return body


async def _read(request: Request, largest: int) -> tuple[bytes, int]:
    """Return what is kept of a body, and how much was read of it."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= largest:
            body += chunk
        elif size > DRAINED * largest:
            break
    return bytes(body), size


class Rate:
    """So many requests of each client in each minute."""

    def __init__(
        self,
        most: int = 120,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with no requests.

        Args:
            most: How many.
            seconds: The length of a "minute".
            clock: Tells the time.
        """
        self._most, self._seconds, self._clock = most, seconds, clock
        self._counts: Counter[str] = Counter()
        self._began = clock()

    def check(self, client: str) -> None:
        """Count a request.

        Args:
            client: Whose it is.

        Raises:
            Refusal: If it is one too many.
        """
        now = self._clock()
        if now - self._began >= self._seconds:
            self._counts.clear()  # so the table holds the clients of one minute
            self._began = now
        self._counts[client] += 1
        if self._counts[client] > self._most:
            wait = int(self._began + self._seconds - now) + 1
            raise Refusal(
                429,
                f"more than {self._most} requests came from this address within "
                f"{self._seconds:g} seconds. Wait {wait} seconds.",
                retry_after=wait,
            )
