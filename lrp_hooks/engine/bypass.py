"""Writes that autograd does not see: into ``y.data``, ``y.detach()``, under no_grad.

They change the output and leave the graph as it was, so that no gradient is right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .autograd import carries

__all__ = ["bypasses", "changed", "is_recorded", "mark_alias", "owner_of"]


def owner_of(tensor: Tensor) -> Tensor:
    """Return the tensor that a view looks at, or the tensor itself if it is none.

    Args:
        tensor: Any tensor.

    Returns:
        The one whose history a write into ``tensor`` changes.
    """
    base = tensor._base if tensor._is_view() else None
    return tensor if base is None else base


def is_recorded(tensor: Tensor) -> bool:
    """Tell a computed value from a leaf, whose value is whatever it holds.

    Args:
        tensor: Any tensor.

    Returns:
        True if relevance flows through it to what it was computed from.
    """
    return tensor.grad_fn is not None and carries(tensor)


def mark_alias(alias: Tensor, of: Tensor) -> None:
    """Note that a tensor shares the memory of a recorded one, unknown to autograd.

    Args:
        alias: ``of.data``, ``of.detach()`` and the like.
        of: What it was made of.
    """
    if alias is not of and (is_recorded(of) or _is_alias(of)):
        alias._lrp_alias = True  # type: ignore[attr-defined]


def bypasses(tensor: Tensor) -> bool:
    """Tell whether autograd overlooks that a tensor is overwritten.

    Args:
        tensor: What is about to be overwritten.

    Returns:
        True if its memory belongs to a recorded tensor and the write is not recorded.
    """
    if is_recorded(owner_of(tensor)):
        return not torch.is_grad_enabled()
    return _is_alias(tensor)


def changed(before: Tensor, after: Tensor) -> bool:
    """Tell whether a write made any difference.

    Args:
        before: A copy of the values before it.
        after: The values after it.

    Returns:
        True unless all are the same, NaN included.
    """
    if before.shape != after.shape:
        return True
    same = (before == after) | ((before != before) & (after != after))  # noqa: PLR0124
    return not bool(same.all())


def _is_alias(tensor: Tensor) -> bool:
    return getattr(owner_of(tensor), "_lrp_alias", False)
