"""The scopes that are open in a thread, the innermost one last."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from .undo import Undo

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["active_scope", "aside", "height", "open_scopes"]


class _Thread(threading.local):
    def __init__(self) -> None:
        self.scopes: list[Scope | None] = []


def open_scopes() -> list[Scope | None]:
    """Return the scopes of this thread; None stands where they are set aside."""
    return _thread.scopes


def active_scope() -> Scope | None:
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
