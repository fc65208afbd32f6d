"""Rank statistics: correlation, area under the curve, the sign test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Return ranks from 1, equal values sharing their mean rank."""
    below = (values[None] < values[:, None]).sum(1)
    same = (values[None] == values[:, None]).sum(1)
    return below + (same + 1) / 2


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the correlation of ranks; 0 where one of them is constant."""
    found = torch.corrcoef(torch.stack([ranks(a), ranks(b)]).double())[0, 1]
    return float(found) if found.isfinite() else 0.0


def auroc(scores: Tensor, marked: Tensor) -> float:
    """Return the chance that a marked item scores higher than another one.

    Args:
        scores: ``[N]``.
        marked: Boolean ``[N]``, with both answers in it.

    Returns:
        The area under the ROC curve.
    """
    n = int(marked.sum())
    total = float(ranks(scores)[marked].sum())
    return (total - n * (n + 1) / 2) / (n * (len(marked) - n))


def sign_test(mine: Sequence[float], other: Sequence[float]) -> tuple[int, float]:
    """Count how often mine is smaller, and how likely at least as uneven a count is.

    Args:
        mine: One error a text.
        other: The same texts' errors by another method.

    Returns:
        The number of texts where mine is smaller, and the two-sided p-value; ties are
        left out.
    """
    wins = sum(m < o for m, o in zip(mine, other, strict=True))
    n = sum(m != o for m, o in zip(mine, other, strict=True))
    extreme = max(wins, n - wins)
    tail = sum(math.comb(n, k) for k in range(extreme, n + 1)) / 2**n
    return wins, min(1.0, 2 * tail)
