"""One computation at a time; the others wait in a line that has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from threading import Event
from typing import Any, TypeVar

from .refusal import Refusal

__all__ = ["LeftError", "Turns"]

T = TypeVar("T")


class LeftError(Exception):
    """Nobody waits for the answer any more."""


class Turns:
    """A worker thread with a bounded line before it."""

    def __init__(self, waiting: int = 8) -> None:
        """Start with nobody in the line.

        Args:
            waiting: How many may wait while one is served.
        """
        self._waiting = waiting
        self._inside = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="explorer")

    async def run(
        self, work: Callable[[Event], T], left: Callable[[], Awaitable[None]]
    ) -> T:
        """Do work when its turn has come.

        Args:
            work: Gets an event; once that is set, the answer is not needed.
            left: Returns when the client has gone.

        Returns:
            What the work returned.

        Raises:
            Refusal: If the line is full.
            LeftError: If the client has gone.
        """
        if self._inside > self._waiting:
            raise Refusal(
                503,
                f"{self._waiting} others are waiting already. Try again in a few "
                "seconds.",
                retry_after=5,
            )
        self._inside += 1
        abandoned = Event()
        answer = asyncio.wrap_future(self._worker.submit(work, abandoned))
        leaving = asyncio.ensure_future(left())
        try:
            either: set[asyncio.Future[Any]] = {answer, leaving}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise LeftError
            return answer.result()
        finally:
            abandoned.set()
            answer.cancel()  # work that has not begun never does
            leaving.cancel()
            self._inside -= 1

    def ended(self, seconds: float) -> bool:
        """Wait for the worker to finish what it has begun.

        Args:
            seconds: How long.

        Returns:
            Whether it has.
        """
        try:
            self._worker.submit(int).result(seconds)
        except TimeoutError:
            return False
        return True
