"""The backward of a normaliser whose scale is frozen and whose mean is not."""

from __future__ import annotations

from torch import Tensor

__all__ = ["centred", "present"]


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
