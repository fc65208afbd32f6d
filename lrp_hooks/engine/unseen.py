"""What takes functions out of a scope's sight: transforms, inner gradients, compilers.

Rules are made for a gradient that is asked for once the forward pass has ended. What
asks for another one is recognised here, to be run without rules or refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch.autograd import forward_ad

from ..errors import CompiledModelError, UnsupportedModelError
from .undo import undoing

__all__ = [
    "Differentiates",
    "check_transforms",
    "differentiate",
    "eagerly",
    "transformed",
]

transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active
"""Tells whether a transform of torch.func (grad, vmap, jvp, ...) is in progress."""


class Differentiates(BaseException):
    """A model asks for a gradient inside its own forward.

    No `Exception`, so that no model takes it for one of its own.
    """


def check_transforms() -> None:
    """Refuse transforms around an instrumented model.

    Raises:
        UnsupportedModelError: If a transform of torch.func or forward mode is active.
    """
    if transformed() or forward_ad._current_level >= 0:
        raise UnsupportedModelError(
            "an instrumented model was called inside torch.func (grad, vmap, jacrev, "
            "jvp, ...) or forward-mode differentiation, which no rule goes through; "
            "use torch.autograd.grad or backward(), one output at a time."
        )


def differentiate(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Stand for a function that asks for a gradient while a model runs.

    Args:
        func: The function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Raises:
        Differentiates: Always; the model's call begins again without rules.
    """
    raise Differentiates


class _Stance:
    """How often `eagerly` is in force, in all threads: torch has one stance."""

    lock = threading.Lock()
    users: ClassVar[set[object]] = set()
    stance: Any = None


@contextmanager
def eagerly() -> Generator[None]:
    """Run compiled functions as they were written, so that the scope sees inside.

    Raises:
        CompiledModelError: If the caller itself is compiled.
    """
    user = object()
    with undoing() as undo:
        undo.add(partial(_release, user))
        with undoing() as locked:
            locked.hold(_Stance.lock)
            _Stance.users.add(user)
            if _Stance.stance is None:
                try:
                    _Stance.stance = torch.compiler.set_stance("force_eager")
                except RuntimeError as error:
                    raise CompiledModelError(_COMPILED) from error
        yield


def _release(user: object) -> None:
    with undoing() as locked:
        locked.hold(_Stance.lock)
        _Stance.users.discard(user)
        if not _Stance.users and _Stance.stance is not None:
            _Stance.stance.__exit__(None, None, None)
            _Stance.stance = None


_COMPILED = (
    "an instrumented model was called inside what torch.compile made, which sees no "
    "rules; call the model itself, or compile it after remove() or with "
    "rules='gradient'."
)
