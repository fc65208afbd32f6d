"""Scores and classes, before anything is measured with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.classes import label_id
from ..errors import ArgumentError, NonFiniteError, TargetError

__all__ = ["check_scores", "classes_of"]


def check_scores(scores: Any) -> Tensor:
    """Refuse scores by which nothing can be ordered.

    Args:
        scores: ``[B, T]`` or ``[B, H, W]``.

    Returns:
        The same in float64 on the CPU.

    Raises:
        ArgumentError: If they are no such tensor.
        NonFiniteError: If NaN or infinity is among them.
    """
    hint = " Pass its .scores." if hasattr(scores, "scores") else ""
    if hasattr(scores, "__array__") and not isinstance(scores, Tensor):
        try:
            scores = torch.as_tensor(scores)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"scores is a {type(scores).__name__} ({error}); it must be a tensor "
                "[B, T], or [B, H, W] for images."
            ) from error
    if not isinstance(scores, Tensor) or scores.ndim not in {2, 3}:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores)
        raise ArgumentError(
            f"scores is {came}; it must be a tensor [B, T], or [B, H, W] for images."
            f"{hint}"
        )
    if not bool(scores.isfinite().all()):
        row = int((~scores.flatten(1).isfinite().all(1)).nonzero()[0])
        raise NonFiniteError(
            f"scores of example {row} hold NaN or infinity, by which nothing can be "
            "ordered. Find out where they come from; 0 stands for no relevance."
        )
    return scores.detach().cpu().double()


def classes_of(target: Any, batch: int, n_classes: int, model: nn.Module) -> Tensor:
    """Understand a target.

    Args:
        target: The class of each example, or one for all, or a label.
        batch: B.
        n_classes: C.
        model: The model, for its labels.

    Returns:
        The class of each example, ``[B]``.

    Raises:
        TargetError: If it is none of that, or the model has no such class.
    """
    if isinstance(target, str):
        number = label_id(model, target)
        target = target if number is None else number
    try:
        classes = torch.as_tensor(target).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(
            f"target={target!r} must be the class of each example, [{batch}], or one "
            "for all."
        ) from error
    whole = not (classes.is_floating_point() or classes.dtype == torch.bool)
    if not whole or classes.shape not in {torch.Size([]), torch.Size([batch])}:
        raise TargetError(
            f"target is a {classes.dtype} tensor of shape {tuple(classes.shape)}; it "
            f"must hold whole numbers, one for each of {batch} examples or one for all."
        )
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise TargetError(
            f"target holds {int(classes.min())} to {int(classes.max())}; the model has "
            f"{n_classes} outputs, 0 to {n_classes - 1}."
        )
    return classes.long().expand(batch)
