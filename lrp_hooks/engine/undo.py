"""What is to be undone, noted before it is done: an exception finds it at any line."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from torch import nn

__all__ = ["Undo", "undoing"]


class Lock(Protocol):
    """What ``threading`` has of locks."""

    def acquire(self) -> bool:
        """Take it."""

    def release(self) -> None:
        """Give it back."""


class Undo:
    """Steps that take something back.

    A step is added before what it takes back is done, and does nothing where there is
    nothing to take back, so that it may run too early, twice, or in part.
    """

    def __init__(self) -> None:
        """Start with nothing to undo."""
        self._steps: list[Callable[[], object]] = []

    def add(self, step: Callable[[], object]) -> None:
        """Note a step.

        Args:
            step: Takes something back; see above.
        """
        self._steps.append(step)

    def hook(
        self, module: nn.Module, kind: str, hook: Callable[..., Any], **options: bool
    ) -> None:
        """Put a hook on a module.

        Args:
            module: The module.
            kind: ``"forward_hook"`` or ``"forward_pre_hook"``.
            hook: The hook, an object of its own.
            **options: Of ``module.register_forward_hook`` and the like.
        """
        self.add(partial(_unhook, module, hook))
        getattr(module, f"register_{kind}")(hook, **options)

    def hold(self, lock: Lock) -> None:
        """Take a lock; no line stands between taking it and noting that.

        Args:
            lock: The lock.
        """
        held: list[Callable[[], None]] = []

        def release() -> None:
            while held:
                held.pop()()

        self.add(release)
        held.extend([lock.release] * lock.acquire())

    def run(self) -> None:
        """Undo, the last step first; run it again where it was interrupted."""
        while self._steps:
            self._steps[-1]()
            self._steps.pop()


@contextmanager
def undoing() -> Generator[Undo]:
    """Undo at the end, whatever interrupts, the undoing itself included.

    Yields:
        Where to note what is to be undone.
    """
    undo = Undo()
    try:
        try:
            yield undo
        finally:
            undo.run()
    finally:
        undo.run()


def _unhook(module: nn.Module, hook: Callable[..., Any]) -> None:
    """Take a hook off; its handle may have been lost on the way here."""
    tables: tuple[tuple[dict[int, Any], ...], ...] = (
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
        (
            module._forward_hooks,
            module._forward_hooks_with_kwargs,
            module._forward_hooks_always_called,
        ),
    )
    for hooks, *notes in tables:
        for key in [key for key, other in hooks.items() if other is hook]:
            for table in (*notes, hooks):
                table.pop(key, None)
