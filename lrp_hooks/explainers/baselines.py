"""Where the way of integrated gradients starts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from .features import filler_of, find_features, keep_rows
from .points import Points, read_values

__all__ = ["start_values"]


def start_values(points: Points, baseline: Any, tokenizer: Any) -> tuple[Tensor, ...]:
    """Find the baseline of everything that is read.

    Args:
        points: The explained scalars as a function of what was read.
        baseline: See ``IntegratedGradients``.
        tokenizer: Knows tokens by name, and which are special; or ``None``.

    Returns:
        One tensor for each that is read, in its shape.

    Raises:
        ArgumentError: If there is no such baseline.
    """
    if isinstance(baseline, str) and baseline == "zero":
        return tuple(torch.zeros_like(value) for value in points.values)
    if not isinstance(baseline, Tensor):
        return _token_values(points, baseline, tokenizer)
    try:
        (value,) = points.values
        return (baseline.to(value).expand(value.shape),)
    except (RuntimeError, ValueError) as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in points.values)
        raise ArgumentError(
            f"baseline has shape {tuple(baseline.shape)}; it must broadcast to what is "
            f"read, which must be one tensor and is {shapes}."
        ) from error


def _token_values(points: Points, baseline: Any, tokenizer: Any) -> tuple[Tensor, ...]:
    """Return what is read of texts of one token."""
    subject, call, model = points.subject, points.call, points.subject.model
    if call.main.is_floating_point():
        raise ArgumentError(
            f"baseline={baseline!r} is no choice for float inputs; it must be 'zero' "
            "or a tensor."
        )
    features = find_features(model, call, tokenizer, None)
    filler = filler_of(subject, call, tokenizer, "baseline", baseline)
    rows = []
    for row in range(call.batch):
        keep = features.labels[row][None] < 0
        filled = keep_rows(model, call, row, keep, filler)
        rows.append(read_values(subject, filled, points.wrt))
    points.shown += len(rows)
    return tuple(torch.cat(values) for values in zip(*rows, strict=True))
