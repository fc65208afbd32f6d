"""Shapley values as the solution of a regression on coalitions.

Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874, theorem 2: weighted by the
Shapley kernel, and bound to sum to f(all) - f(none), it is exact on all coalitions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .ridge import least_squares

__all__ = ["coalitions", "shapley_values"]


def coalitions(d: int, number: int) -> tuple[Tensor, Tensor]:
    """List coalitions other than the full and the empty one, all where there is room.

    Args:
        d: How many features there are, at least two.
        number: How many coalitions there may be.

    Returns:
        Which features each keeps, boolean [N, d], and its weight in the regression,
        [N]: the Shapley kernel for all of them, else 1 for those that are drawn with
        probabilities in proportion to it.
    """
    # All coalitions of a size have together the share 1 / (size (d - size)).
    sizes = torch.arange(1, d)
    share = 1 / (sizes * (d - sizes)).double()
    if 2**d - 2 > number:
        drawn = sizes[share.multinomial(number, replacement=True)]
        order = torch.rand(number, d).argsort(1)
        return order < drawn[:, None], torch.ones(number).double()
    bits = torch.arange(1, 2**d - 1)
    kept = (bits[:, None] >> torch.arange(d)) % 2 == 1
    each = share / torch.tensor([math.comb(d, size) for size in sizes.tolist()])
    return kept, each[kept.sum(1) - 1]


def shapley_values(
    kept: Tensor, values: Tensor, weights: Tensor, full: Tensor
) -> Tensor:
    """Fit values of features that sum to what all have together.

    Args:
        kept: Which features each coalition keeps, boolean [N, d].
        values: f(coalition) - f(none), [N].
        weights: Of the coalitions, [N].
        full: f(all) - f(none), [].

    Returns:
        [d]; the last is what the others leave, so that the sum is ``full``.
    """
    z, last = kept[:, :-1].double(), kept[:, -1].double()
    root = weights.sqrt()
    design = root[:, None] * (z - last[:, None])
    others = least_squares(design, root * (values - last * full), kept.shape)
    return torch.cat([others, (full - others.sum())[None]])
