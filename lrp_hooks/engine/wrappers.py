"""Modules that stand around others and leave what they compute as it is."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from torch import nn

from .walk import named_modules_of

__all__ = ["named_modules", "plain_name", "unwrapped"]

_INSIDE = frozenset({"_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""The names that torch's wrappers of single modules give to what is in them."""
_COPIES = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_Model = TypeVar("_Model")


def unwrapped(model: _Model) -> _Model:
    """Return the model in a wrapper that runs one copy of it for each device.

    Args:
        model: Any model.

    Returns:
        What ``DistributedDataParallel`` or ``DataParallel`` holds; else the model.
    """
    while isinstance(model, _COPIES):
        model = model.module
    return model


def plain_name(name: str) -> str:
    """Name a module or a parameter as it was called before it was wrapped.

    Args:
        name: A qualified name.

    Returns:
        The same without the wrappers' own parts.
    """
    if "_wrapped_module" not in name:
        return name
    return ".".join(part for part in name.split(".") if part not in _INSIDE)


def named_modules(model: nn.Module) -> Generator[tuple[str, nn.Module]]:
    """List a model's modules by their plain names, without wrappers.

    Args:
        model: The model.

    Yields:
        Each name with its module.
    """
    named = {plain_name(name): module for name, module in named_modules_of(model)}
    yield from named.items()  # what is inside comes later, under the same name
