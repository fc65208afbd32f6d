"""The backward of a normaliser whose scale is frozen and whose mean is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["centred", "per_channel", "present", "scaled"]


def present(*tensors: Tensor | None) -> list[Tensor]:
    """Leave out what is None.

    Args:
        *tensors: Tensors, some of them None.

    Returns:
        The others.
    """
    return [t for t in tensors if t is not None]


def centred(
    dims: tuple[int, ...], grad: Tensor, scale: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Return the gradient for x of (x - mean x) * scale * weight, scale frozen.

    Args:
        dims: The dimensions that the mean is taken over.
        grad: The gradient for the output.
        scale: One over the standard deviation, broadcasting to ``grad``.
        weight: The gain, broadcasting to ``grad``.

    Returns:
        (g w - mean(g w)) * scale, in the shape of ``grad``.
    """
    scaled = grad if weight is None else grad * weight
    return (scaled - scaled.mean(dims, keepdim=True)) * scale


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Shape one number per channel so that it broadcasts.

    Args:
        values: [C].
        like: [B, C, ...].

    Returns:
        [1, C, 1, ...].
    """
    return values.reshape(1, -1, *(1,) * (like.ndim - 2))


def scaled(
    norm: Callable[..., Tensor], weight: Tensor | None, bias: Tensor | None
) -> Callable[..., Tensor]:
    """Define a normaliser with a gain and a shift of its own, which carry relevance.

    Args:
        norm: The normaliser without them.
        weight: The gain, broadcasting to the output.
        bias: The shift, broadcasting to the output.

    Returns:
        norm(x) * weight + bias.
    """

    def definition(*args: Any) -> Tensor:
        y = norm(*args)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    return definition
