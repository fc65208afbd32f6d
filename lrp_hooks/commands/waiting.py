"""What a command waits for, said on a terminal while it lasts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

__all__ = ["waiting"]


def waiting(stderr: TextIO | None, what: str) -> AbstractContextManager[Any]:
    """Say what is waited for, and take the line away again.

    Args:
        stderr: Where to say it, if that is a terminal.
        what: A few words.

    Returns:
        A context for the work.
    """
    if stderr is None or not stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(file=stderr).status(what)
