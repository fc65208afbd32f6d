"""How far two explanations of the same prediction agree, on the tokens they share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["MEASURES", "kendall", "sign", "spearman", "top_k"]


def spearman(a: Tensor, b: Tensor) -> float:
    """Correlate the ranks; tied scores share the mean of their ranks.

    Args:
        a: Scores, ``[T]``.
        b: Scores of the same tokens, ``[T]``.

    Returns:
        From -1 to 1; NaN where all scores of one are equal.
    """
    ranks = torch.stack([_ranks(a), _ranks(b)])
    centred = ranks - ranks.mean(1, keepdim=True)
    lengths = centred.norm(dim=1)
    return float(centred[0] @ centred[1] / lengths.prod())


def kendall(a: Tensor, b: Tensor) -> float:
    """Compare the order of all pairs: Kendall's tau-b, which corrects for ties.

    Args:
        a: Scores, ``[T]``.
        b: Scores of the same tokens, ``[T]``.

    Returns:
        From -1 to 1; NaN where all scores of one are equal.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for x, y in zip(a, b, strict=True):  # a row of pairs: all of an image are too many
        one, two = torch.sign(a - x), torch.sign(b - y)
        sums += torch.stack([(one * two).sum(), one.abs().sum(), two.abs().sum()])
    return float(sums[0] / sums[1:].prod().sqrt())


def sign(a: Tensor, b: Tensor) -> float:
    """Count tokens on the same side of zero.

    Args:
        a: Scores, ``[T]``.
        b: Scores of the same tokens, ``[T]``.

    Returns:
        From 0 to 1.
    """
    return float((torch.sign(a) == torch.sign(b)).double().mean())


def top_k(a: Tensor, b: Tensor, k: int = 5) -> float:
    """Count tokens that are among the k highest scores of both.

    Args:
        a: Scores, ``[T]``.
        b: Scores of the same tokens, ``[T]``.
        k: How many; all tokens where there are fewer.

    Returns:
        From 0 to 1.
    """
    k = min(k, len(a))
    first, second = (set(x.topk(k).indices.tolist()) for x in (a, b))
    return len(first & second) / k


MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "spearman": spearman,
    "kendall": kendall,
    "sign": sign,
    "top_k": top_k,
}


def _ranks(scores: Tensor) -> Tensor:
    """Return ranks from 0, [T] in float64."""
    ordered = scores.sort().values
    first = torch.searchsorted(ordered, scores).double()
    last = torch.searchsorted(ordered, scores, right=True).double() - 1
    return (first + last) / 2
