"""The scopes that are open in a thread, the innermost one last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .constants import Constants
from .sources import SourceCollector
from .surroundings import Frame, Surroundings
from .undo import Undo

__all__ = ["OpenScope", "active_scope", "aside", "height", "open_scopes"]


class OpenScope(Protocol):
    """What replacements, and what stands beside them, may know of a scope.

    Attributes:
        surroundings: What the scopes of the model share.
        collector: Where sources are entered, if a ledger is being written.
        explains: Whether one is, or was when what runs again ran first.
        frames: The running modules, innermost last.
        constants: Tells parameters from what carries relevance.
        in_leaf: Whether a module with a rule of its own is running.
        resting: Whether functions go by as they are.
    """

    surroundings: Surroundings
    collector: SourceCollector | None
    explains: bool
    frames: list[Frame]
    constants: Constants
    in_leaf: bool
    resting: bool

    def renewed(self) -> OpenScope:
        """Return a scope for the same model that writes no ledger."""

    def enter(self, frame: Frame, idle: bool = False) -> None:
        """Enter a module; the first one opens the scope."""

    def leave(self) -> None:
        """Leave the innermost module; the last one closes the scope."""

    def leave_to(self, depth: int) -> None:
        """Leave a module, and those inside that an interrupt has left behind."""

    def report(self, func: Callable[..., Any] | str, result: object) -> None:
        """Report a function that bends relevance and has no rule."""

    def note_unrecorded(self) -> None:
        """Note that a part runs without a graph."""

    def mark_checkpoints(self, output: Any) -> None:
        """Let reentrant checkpoints run again in the scope that they ran in."""

    def __torch_function__(  # noqa: PLW3201
        self, func: Any, types_: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function's replacement, or the function itself."""

    def __enter__(self) -> Any:
        """Replace functions from now on."""

    def __exit__(self, kind: Any, error: Any, traceback: Any, /) -> Any:
        """Replace them no more."""


class _Thread(threading.local):
    def __init__(self) -> None:
        self.scopes: list[OpenScope | None] = []


def open_scopes() -> list[OpenScope | None]:
    """Return the scopes of this thread; None stands where they are set aside."""
    return _thread.scopes


def active_scope() -> OpenScope | None:
    """Return the innermost scope that is open in this thread."""
    scopes = _thread.scopes
    return scopes[-1] if scopes else None


def aside(undo: Undo) -> None:
    """Set the scopes of this thread aside: what runs is no part of their forward.

    Args:
        undo: Where it is noted how they come back.
    """
    scopes = _thread.scopes
    undo.add(partial(scopes.__delitem__, slice(len(scopes), None)))
    scopes.append(None)


def height() -> int:
    """Count this thread's scopes, those that are set aside included."""
    return sum(scope is not None for scope in _thread.scopes)


_thread = _Thread()
