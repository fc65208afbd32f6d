"""Scores of pixels, summed to the patches that a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import ArgumentError
from ..support.numbers import is_whole

__all__ = ["by_patch"]

Size = int | tuple[int, int] | None


def by_patch(
    scores: Tensor | dict[str, Tensor], size: Size, own: Mapping[str, Any]
) -> Tensor | dict[str, Tensor]:
    """Sum the scores of images by patch.

    Args:
        scores: ``[B, ..., H, W]``; of several tensors those of images are summed.
        size: See `Explanation.patches`.
        own: ``{name: (height, width)}`` of the model's own patches.

    Returns:
        The sums, in the places of the scores.

    Raises:
        ArgumentError: If there are no images, or the size does not fit them.
    """
    if isinstance(scores, Tensor) and scores.dim() in {3, 4}:
        return _folded(scores, size, next(iter(own.values()), None))
    images = [] if isinstance(scores, Tensor) else [n for n in scores if n in own]
    if isinstance(scores, Tensor) or not images:
        raise ArgumentError(
            f"patches() needs the scores of images, [B, H, W], got {_shape(scores)}. "
            "Explain float images, and read one tensor."
        )
    folded = {name: _folded(scores[name], size, own[name]) for name in images}
    return {**scores, **folded}


def _folded(scores: Tensor, size: Size, own: Any) -> Tensor:
    """Sum the pixels of each patch, [..., H, W]."""
    tall, wide = scores.shape[-2:]
    chosen = own if size is None and own is not None else size
    sides = tuple(chosen) if isinstance(chosen, tuple | list) else (chosen, chosen)
    whole = [int(side) for side in sides if is_whole(side) and int(side) > 0]
    hint = f"this model's are {_named(own)}" if own else "such as config.patch_size"
    if [len(sides), len(whole)] != [2, 2] or tall % whole[0] or wide % whole[1]:
        raise ArgumentError(
            f"size={size!r} does not divide images of {tall} x {wide} pixels; pass "
            f"the side of a patch, {hint}."
        )
    if own and any(a % b and b % a for a, b in zip(whole, own, strict=True)):
        raise ArgumentError(
            f"size={size!r} cuts across the patches that the model reads, so that a "
            f"sum would be of none of them; {hint}. Leave size= out, or pass a "
            "multiple."
        )
    rows, columns = whole
    shape = (*scores.shape[:-2], tall // rows, rows, wide // columns, columns)
    return scores.double().reshape(shape).sum((-3, -1)).to(scores.dtype)


def _named(own: Any) -> str:
    return " x ".join(map(str, own))


def _shape(scores: Tensor | Mapping[str, Tensor]) -> str:
    if isinstance(scores, Tensor):
        return str(list(scores.shape))
    return "{" + ", ".join(f"{k}: {list(v.shape)}" for k, v in scores.items()) + "}"
