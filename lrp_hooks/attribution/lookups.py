"""Which input a table of embeddings looks up."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..engine.nested import first_tensor
from ..engine.shares import whole
from ..engine.storage import storage_address
from ..errors import ArgumentError, LrpHooksWarning

__all__ = [
    "are_the_same",
    "ids_given",
    "not_looked_up",
    "nowhere",
    "same_storage",
    "tell_of_two",
    "unread",
]


def ids_given(given: Any) -> Tensor | None:
    """Return the ids that a table is given, all of them.

    Args:
        given: Its arguments.

    Returns:
        The first tensor among them.
    """
    ids = first_tensor(given)
    return None if ids is None else whole(ids)


def are_the_same(ids: Tensor, given: Tensor) -> bool:
    """Tell a copy of the ids from what counts positions or types.

    Args:
        ids: What a table is given.
        given: What the model is called with.

    Returns:
        True if they are equal, and no such numbers.
    """
    if ids.numel() != given.numel() or _may_count(given):
        return False
    return bool((ids.flatten() == given.to(ids.device).flatten()).all())


def _may_count(ids: Tensor) -> bool:
    """Tell whether ids could as well be numbers of positions or types."""
    return bool(ids.max() <= 1) or bool((ids.diff(dim=-1) == 1).all())


def same_storage(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are views of one storage.

    Args:
        a: A tensor.
        b: Another one.

    Returns:
        True if they share memory.
    """
    first, second = storage_address(a), storage_address(b)
    return a.dtype == b.dtype and first == second != 0


def nowhere(main: Tensor) -> ArgumentError:
    """Say that no table looks up what the model is called with.

    Args:
        main: The main input.

    Returns:
        The error.
    """
    return ArgumentError(
        f"inputs are {main.dtype}, but no embedding module of the model looks them up; "
        "pass floats, or name the module whose output to read with wrt=."
    )


def not_looked_up(name: str) -> ArgumentError:
    """Say that no table looks up an input that was named.

    Args:
        name: The input.

    Returns:
        The error.
    """
    return ArgumentError(
        f"wrt={name!r} names an input that no embedding module of the model looks up "
        "in this call; name one of token ids, or the module whose output to read."
    )


def unread(argument: str, name: str) -> ArgumentError:
    """Say that a module that was named did not run.

    Args:
        argument: What named it.
        name: The module.

    Returns:
        The error.
    """
    return ArgumentError(
        f"{argument}={name!r} names a module that did not run, or returned no float "
        "tensor, in this call; name one that does."
    )


def tell_of_two(names: Sequence[str]) -> None:
    """Warn of what ``wrt=`` names that is a module and an input.

    Args:
        names: What is both.
    """
    for name in names:
        warnings.warn(
            f"wrt={name!r} is the name of a module and of an input, and the module's "
            "output is read. Rename one of them to read the input; without wrt= all "
            "inputs with content are read.",
            LrpHooksWarning,
            stacklevel=2,
        )
