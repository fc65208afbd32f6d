"""Matrices of layers, token by token, multiplied to one (Abnar & Zuidema 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..results.explanation import Explanation

__all__ = ["RolloutExplanation", "normalised", "rollout"]


@dataclass(kw_only=True, eq=False, repr=False)
class RolloutExplanation(Explanation):
    """Scores of the tokens, and the matrices that they were read off.

    Row i of a matrix says what token i is made of.

    Args:
        layers: ``[L, B, T, T]``, one matrix a layer, 0 at padding.
        joint: ``[B, T, T]``, all layers together.
    """

    layers: Tensor
    joint: Tensor


def rollout(layers: Tensor) -> Tensor:
    """Multiply the matrices of all layers.

    Args:
        layers: ``[L, ..., T, T]``, the first layer first.

    Returns:
        ``A_L ... A_2 A_1``, ``[..., T, T]``.
    """
    joint = layers[0]
    for layer in layers[1:]:
        joint = layer @ joint
    return joint


def normalised(layers: Tensor) -> Tensor:
    """Divide each row by its sum.

    Args:
        layers: ``[..., T, T]``, not negative.

    Returns:
        The same with rows that sum to 1; rows of zeros stay.
    """
    total = layers.sum(-1, keepdim=True)
    return layers / torch.where(total == 0, 1.0, total)
