"""Functions that have a definition in terms of others: its rules are theirs.

The value is the function's own, bit for bit; the backward pass is that of the
definition, evaluated under the rules of the functions in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import carries, splice, under_rules

__all__ = ["any_carries", "as_defined", "defined"]

Replacement = Callable[..., Any]


def any_carries(value: Any) -> bool:
    """Tell whether relevance can flow through any of nested arguments.

    Args:
        value: Tensors in lists and tuples.

    Returns:
        True if one of them carries relevance.
    """
    if isinstance(value, list | tuple):
        return any(any_carries(item) for item in value)
    return carries(value)


def as_defined(
    value: Any, definition: Callable[..., Any], /, *args: Any, **kw: Any
) -> Any:
    """Give a value the graph of its definition.

    Args:
        value: What a function returned: a tensor, or a tuple of tensors.
        definition: The same function in terms of others.
        *args: The arguments.
        **kw: The keyword arguments.

    Returns:
        The value, recorded as what the definition made of the arguments.
    """
    twin = under_rules(definition, *args, **kw)
    if isinstance(value, Tensor):
        return _joined(value, twin)
    return type(value)(map(_joined, value, twin))


def _joined(value: Tensor, twin: Tensor) -> Tensor:
    if not carries(twin):
        return value
    return splice(value, twin, lambda grad: grad.to(twin.dtype))


def defined(definition: Callable[..., Any]) -> Replacement:
    """Make a replacement of a definition.

    Args:
        definition: A function in terms of others; called with the same arguments.

    Returns:
        The replacement.
    """

    def replacement(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not any_carries((args, tuple(kwargs.values()))):
            return func(*args, **kwargs)
        with torch.no_grad():
            value = func(*args, **kwargs)
        return as_defined(value, definition, *args, **kwargs)

    return replacement
