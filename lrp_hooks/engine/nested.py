"""Tensors in nested arguments and outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, MutableMapping
from typing import Any

from torch import Tensor

__all__ = ["all_tensors", "first_tensor", "replace_first", "replace_floats"]


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
    return (
        new if value is old else _rebuilt(value, lambda v: replace_first(v, old, new))
    )


def replace_floats(value: Any, make: Callable[[Tensor], Tensor]) -> Any:
    """Replace every float tensor in nested outputs, keeping their types.

    Args:
        value: A tensor, or tuples, lists and mappings of such.
        make: Makes what takes a tensor's place.

    Returns:
        The value with the replacements.
    """
    if isinstance(value, Tensor):
        return make(value) if value.is_floating_point() else value
    return _rebuilt(value, lambda item: replace_floats(item, make))


def _rebuilt(value: Any, make: Callable[[Any], Any]) -> Any:
    """Apply a function to the items of a container, if it is one."""
    if isinstance(value, MutableMapping):
        made = copy.copy(value)
        for key, item in value.items():
            made[key] = make(item)
        return made
    if isinstance(value, Mapping):
        return type(value)(**{key: make(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        items = [make(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
