"""Scores for people: one number for each place that they know."""

from __future__ import annotations

from torch import Tensor, nn

from .content import may_be_merged
from .merged import given_back, grid_of, placed
from .passes import Pass
from .places import by_place, seen_axes
from .readable import is_plain
from .settings import setting

__all__ = ["scores_of"]


def scores_of(name: str, values: Tensor, model: nn.Module, done: Pass) -> Tensor:
    """Sum what was read over all but the places that people see.

    Args:
        name: What was read: an input or a module.
        values: Its relevance, in its own shape.
        model: The model.
        done: The passes that brought it.

    Returns:
        ``[B, T]`` for texts and sounds, ``[B, H, W]`` for images, ``[B, F, H, W]`` for
        videos, ``[B, V, T]`` for series; what lies behind one another is its example's.
    """
    call, apart = done.forward.call, done.apart
    given = call.tensors.get(name)
    if given is None or not is_plain(given):
        return by_place(values, choices=call.has_choices)
    if apart is not None and name in apart.shares:
        grid = grid_of(name, call.tensors, model, given)
        values = given_back(apart.shares[name], grid, may_be_merged(name))
        if grid is not None:
            return values
    shapes = call.tensors.get("spatial_shapes")
    if shapes is not None and values.ndim == 3 and name.startswith("pixel"):
        return placed(values, shapes, setting(model, "patch_size") or 1)
    return _summed(name, values, model)


def _summed(name: str, values: Tensor, model: nn.Module) -> Tensor:
    axes = seen_axes(name, values.shape, model)
    left = [axis for axis in range(values.ndim) if axis not in axes]
    kept = values.sum(left) if left else values
    seen = kept.permute([sorted(axes).index(axis) for axis in axes])
    return seen.squeeze(1) if seen.ndim > 3 else seen  # the one image of an example
