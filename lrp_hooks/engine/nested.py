"""Tensors in nested arguments and outputs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["all_tensors", "first_tensor", "replace_first"]


def first_tensor(
    value: Any, accept: Callable[[Tensor], bool] = lambda tensor: True
) -> Tensor | None:
    """Find the first tensor in nested arguments or outputs.

    Args:
        value: A tensor, or tuples, lists and mappings of such.
        accept: Which tensors count.

    Returns:
        The tensor, or None.
    """
    if isinstance(value, Tensor):
        return value if accept(value) else None
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            found = first_tensor(item, accept)
            if found is not None:
                return found
    return None


def all_tensors(value: Any) -> Generator[Tensor]:
    """List the tensors in nested arguments or outputs.

    Args:
        value: A tensor, or tuples, lists and mappings of such.

    Yields:
        The tensors.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from all_tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from all_tensors(item)


def replace_first(value: Any, old: Any, new: Any) -> Any:
    """Replace an object in nested arguments or outputs, keeping their types.

    Args:
        value: A tensor, or tuples, lists and mappings of such.
        old: The object to replace, compared by identity.
        new: What takes its place.

    Returns:
        The value with the replacement.
    """
    if value is old:
        return new
    if isinstance(value, Mapping):
        items = {key: replace_first(item, old, new) for key, item in value.items()}
        return items if type(value) is dict else type(value)(**items)
    if isinstance(value, list | tuple):
        made = [replace_first(item, old, new) for item in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value
