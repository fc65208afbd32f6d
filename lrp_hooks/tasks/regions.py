"""Segmentation and depth: a map over a region of the picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..attribution.classes import class_of
from ..attribution.regions import Regions
from ..attribution.usual import label_of
from ..errors import TargetError
from ..support.numbers import is_whole
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["measured", "segmented"]


def segmented(asked: Asked) -> Posed:
    """Pose a question about a class in a region.

    Args:
        asked: The question; its target is a class or label, over where the model sees
            it; ``(class or label, place)`` with a place ``(row, column)`` in pixels of
            the picture, or a mask ``[H, W]``; one for each example; or None for the
            class of most places.

    Returns:
        The question about the mean of a logit over the region.
    """
    if asked.target is None:
        return asked.posed(None, Task.SEGMENTATION)
    logits = asked.field("logits")
    assert logits is not None
    parts = [
        _part(asked, target, row, logits[row])
        for row, target in enumerate(asked.each(asked.target))
    ]
    classes, weights, names = zip(*parts, strict=True)
    target = Regions("logits", classes, torch.stack(weights), names)
    return asked.posed(target, Task.SEGMENTATION)


def measured(asked: Asked) -> Posed:
    """Pose a question about the depth of a region.

    Args:
        asked: The question; its target is a place as for `segmented`, one for each
            example, or None for the whole picture.

    Returns:
        The question about the mean depth.
    """
    if asked.target is None:
        return asked.posed(None, Task.DEPTH)
    depth = asked.field("predicted_depth")
    assert depth is not None
    parts = [
        _place(asked, target, depth[row])
        for row, target in enumerate(asked.each(asked.target))
    ]
    weights, names = zip(*parts, strict=True)
    named = tuple(f"depth {name}" for name in names)
    target = Regions("predicted_depth", None, torch.stack(weights), named)
    return asked.posed(target, Task.DEPTH)


def _part(
    asked: Asked, target: Any, row: int, logits: Tensor
) -> tuple[int, Tensor, str]:
    """Return a class, its region and what both are, of logits [C, H, W]."""
    if isinstance(target, tuple):
        if len(target) != 2:
            raise TargetError(f"target={target!r} must be (class or label, place).")
        label = class_of(target[0], asked.model, len(logits))
        weights, name = _place(asked, target[1], logits[label])
        return label, weights, f"{label_of(asked.model, label)} {name}"
    label = class_of(target, asked.model, len(logits))
    seen = (logits.detach().argmax(0) == label).double()
    if not bool(seen.any()):
        raise TargetError(
            f"the model sees {label_of(asked.model, label)!r} nowhere in example "
            f"{row}; pass (label, place): a pixel (row, column), or a mask [H, W]."
        )
    name = f"in its {int(seen.sum())} of {seen.numel()} places"
    return label, seen / seen.sum(), f"{label_of(asked.model, label)} {name}"


def _place(asked: Asked, place: Any, values: Tensor) -> tuple[Tensor, str]:
    """Return how much each entry of a map counts, and the name of the place."""
    tall, wide = _size(asked)
    high, broad = values.shape
    if isinstance(place, tuple) and len(place) == 2 and all(map(is_whole, place)):
        down, across = map(int, place)
        if not (0 <= down < tall and 0 <= across < wide):
            raise TargetError(
                f"target names the pixel {place!r}; the picture has {tall} rows and "
                f"{wide} columns."
            )
        weights = torch.zeros(values.shape, dtype=torch.float64)
        weights[down * high // tall, across * broad // wide] = 1.0
        return weights, f"at ({down}, {across})"
    mask = torch.as_tensor(place) if hasattr(place, "__array__") else None
    if mask is None or tuple(mask.shape) != (tall, wide) or not bool(mask.any()):
        raise TargetError(
            f"target names the place {place!r:.80}; it must be a pixel (row, column) "
            f"or a mask of {tall} x {wide}, the picture's size, that is not empty."
        )
    shares = adaptive_avg_pool2d(mask.double()[None], (high, broad))[0]
    return shares / shares.sum(), f"in a region of {int((mask != 0).sum())} pixels"


def _size(asked: Asked) -> tuple[int, int]:
    """Return height and width of the pictures."""
    pictures = asked.main
    assert pictures is not None
    return pictures.shape[-2], pictures.shape[-1]
