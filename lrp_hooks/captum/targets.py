"""Captum's targets: from a model's output to one explained number an example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..attribution.readout import Contrast
from ..errors import TargetError

__all__ = ["select"]

Index = tuple[int, ...]


def select(output: Tensor, target: Any) -> Tensor:
    """Select the explained number of each example.

    Args:
        output: What the forward function returned, [B, ...].
        target: None where there is one output an example; an int, or a tuple of ints
            into the dimensions after the first, for all examples; a list of B of
            either, or a tensor of B ints; or a `Contrast` of two such targets.

    Returns:
        [B].

    Raises:
        TargetError: If the target is of another kind, or picks not one number.
    """
    if isinstance(target, Contrast):
        return select(output, target.a) - select(output, target.b)
    if output.ndim == 0:
        output = output.reshape(1)
    try:
        chosen = _picked(output, target)
    except IndexError as error:
        raise TargetError(
            f"target={target!r} is out of range for outputs of shape "
            f"{tuple(output.shape)}, the first dimension being that of examples."
        ) from error
    if chosen.numel() != len(output):
        raise TargetError(
            f"target={target!r} picks {chosen.numel() // max(len(output), 1)} numbers "
            f"for each example of an output of shape {tuple(output.shape)}; it must "
            "pick one: pass a class, or a tuple with an index for each dimension after "
            "the first."
        )
    return chosen.reshape(len(output))


def _picked(output: Tensor, target: Any) -> Tensor:
    if target is None:
        return output
    found = _indices(target, len(output))
    if isinstance(found, tuple):
        places: tuple[Any, ...] = (slice(None), *found)
        return output[places]
    return torch.stack([output[(i, *index)] for i, index in enumerate(found)])


def _indices(target: Any, batch: int) -> Index | list[Index]:
    """Return one index for all examples, or a list with one for each."""
    if hasattr(target, "__array__") and not isinstance(target, Tensor):
        target = torch.as_tensor(target)
    if isinstance(target, Tensor):
        whole = not (target.is_floating_point() or target.dtype == torch.bool)
        if not whole or target.ndim > 1:
            raise TargetError(
                f"target is a {target.dtype} tensor of shape {tuple(target.shape)}; it "
                "must hold whole numbers, one for each example (target.long())."
            )
        target = int(target) if target.numel() == 1 else target.tolist()
    if not isinstance(target, list):
        return _index(target)
    if len(target) != batch:
        raise TargetError(
            f"target has {len(target)} entries for {batch} examples; pass one for all, "
            f"or {batch} of them."
        )
    return [_index(item) for item in target]


def _index(target: Any) -> Index:
    entries = target if isinstance(target, tuple) else (target,)
    for entry in entries:
        if isinstance(entry, bool) or not hasattr(entry, "__index__"):
            raise TargetError(
                f"target={target!r} is a {type(entry).__name__}; it must be an int, a "
                "tuple of ints, a list of such, a tensor of ints, or a Contrast."
            )
    return tuple(int(entry) for entry in entries)
