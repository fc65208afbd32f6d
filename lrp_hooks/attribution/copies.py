"""Copies of what a model is called with, since it may change what it gets.

A key-value cache grows with every call, and then holds the graph of the call.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError

__all__ = ["copied"]

Memo = dict[int, Any]
_PLAIN = (str, bytes, int, float, complex, type(None), type, torch.dtype, torch.device)


def copied(name: object, value: Any, memo: Memo) -> Any:
    """Copy an argument of a model, without the graphs that its tensors have.

    Args:
        name: The argument's name or number, for the message.
        value: The argument.
        memo: ``{id: copy}`` of what was copied before, as ``copy.deepcopy`` keeps it.

    Returns:
        The copy. Modules stay the ones they are, and so does what cannot be copied
        where it holds no tensor.

    Raises:
        ArgumentError: If it holds tensors and cannot be copied.
    """
    if isinstance(value, _PLAIN):
        return value
    holds = _copy_tensors(value, memo, set())
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        if not holds:
            return value
        raise ArgumentError(
            f"inputs[{name!r}] is a {type(value).__name__} that holds tensors and "
            f"cannot be copied ({type(error).__name__}: {error}). The model may change "
            "it, so it is not used as it is; pass tensors, containers of them, or an "
            "object that copy.deepcopy can copy."
        ) from error


def _copy_tensors(value: Any, memo: Memo, seen: set[int]) -> bool:
    """Copy the tensors in an argument, and tell whether there are any."""
    # copy.deepcopy refuses tensors that have a graph.
    if isinstance(value, _PLAIN) or id(value) in seen:
        return False
    seen.add(id(value))
    if isinstance(value, Tensor):
        if id(value) not in memo:
            memo[id(value)] = _copy(value)
        return True
    if isinstance(value, nn.Module):
        memo[id(value)] = value
        return False
    if isinstance(value, Mapping):
        parts = list(value.values())
    else:
        parts = list(value) if isinstance(value, list | tuple | set) else []
    parts += getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        parts += [getattr(value, slot, None) for slot in names]
    found = [_copy_tensors(part, memo, seen) for part in parts]
    return any(found)


def _copy(tensor: Tensor) -> Tensor:
    plain = tensor.detach()
    strided = tensor.layout is torch.strided and not tensor.is_nested
    # Torch refuses to write to an expanded tensor; its copy would have other strides.
    if strided and any(
        s == 0 < n - 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        return plain
    return plain.clone()
