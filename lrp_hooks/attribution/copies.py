"""Copies of what a model is called with, since it may change what it gets.

A key-value cache grows with every call, and then holds the graph of the call.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError

__all__ = ["copied", "fields_of", "held_tensors", "snapshot", "swapped"]

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
        where it holds no tensor; else that is an `ArgumentError`.
    """
    if isinstance(value, _PLAIN):
        return value
    return _copied(f"inputs[{name!r}]", value, memo, _copy)


def snapshot(value: Any) -> Any:
    """Copy what holds tensors, such as a cache, but no tensor itself.

    Args:
        value: An argument of a module.

    Returns:
        The copy; what is put into the original does not show in it.
    """
    if isinstance(value, _PLAIN) or isinstance(value, Tensor):
        return value
    return _copied("an argument of a block", value, {}, lambda tensor: tensor)


def held_tensors(value: Any) -> list[Tensor]:
    """List the tensors that an argument holds, however deep.

    Args:
        value: The argument.

    Returns:
        Each of them once.
    """
    memo: Memo = {}
    _copy_tensors(value, memo, set(), lambda tensor: tensor)
    return [found for found in memo.values() if isinstance(found, Tensor)]


def _copied(
    named: str, value: Any, memo: Memo, make: Callable[[Tensor], Tensor]
) -> Any:
    """Copy an argument, with what is made of its tensors."""
    holds = _copy_tensors(value, memo, set(), make)
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        if not holds:
            return value
        raise ArgumentError(
            f"{named} is a {type(value).__name__} that holds tensors and "
            f"cannot be copied ({type(error).__name__}: {error}). The model may change "
            "it, so it is not used as it is; pass tensors, containers of them, or an "
            "object that copy.deepcopy can copy."
        ) from error


def fields_of(value: Any) -> dict[Any, Any] | None:
    """Return what a mapping, a dataclass or a graph holds; None for anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name, None) for name in names}
    if callable(getattr(value, "to_dict", None)) and hasattr(value, "keys"):
        held = value.to_dict()  # torch_geometric's data
        if any(isinstance(item, Tensor) for item in held.values()):
            return dict(held)
    return None


def swapped(value: Any, swap: Mapping[int, Tensor]) -> Any:
    """Put other tensors in place of those that an argument holds.

    Args:
        value: A tensor, a mapping, a dataclass, or a list or tuple of such.
        swap: ``{id: tensor}``.

    Returns:
        The argument, or a copy of it with the tensors in it.
    """
    if id(value) in swap:
        return swap[id(value)]
    if isinstance(value, list | tuple):
        made = [swapped(item, swap) for item in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    fields = fields_of(value)
    if fields is None:
        return value
    result = copy.copy(value)
    for name, item in fields.items():
        if isinstance(value, Mapping):
            result[name] = swapped(item, swap)
        elif dataclasses.is_dataclass(value):
            object.__setattr__(result, name, swapped(item, swap))  # it may be frozen
        else:
            setattr(result, name, swapped(item, swap))
    return result


def _copy_tensors(
    value: Any, memo: Memo, seen: set[int], make: Callable[[Tensor], Tensor]
) -> bool:
    """Copy the tensors in an argument, and tell whether there are any."""
    # copy.deepcopy refuses tensors that have a graph.
    if isinstance(value, _PLAIN) or id(value) in seen:
        return False
    seen.add(id(value))
    if isinstance(value, Tensor):
        if id(value) not in memo:
            memo[id(value)] = make(value)
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
    found = [_copy_tensors(part, memo, seen, make) for part in parts]
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
