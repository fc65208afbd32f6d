"""Plausibility: how well scores find the tokens of a rationale that is known.

A rationale marks the tokens that humans, or the rule that made the data, name as the
reason. The metrics are those of DeYoung et al. 2020 (ERASER),
https://arxiv.org/abs/1911.03429, section 4: a ranking's for soft scores, and the
token-level F1 of a hard choice. They see the order of scores alone, but for
``token_f1`` with a threshold.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ArgumentError

__all__ = ["auprc", "auroc", "token_f1"]


def auroc(scores: Tensor, rationale: Tensor, mask: Tensor | None = None) -> Tensor:
    """Area under the ROC curve: how often a marked token outscores another one.

    Equal scores count one half, which is the same as average ranks in the statistic of
    Mann and Whitney: ``(sum of ranks of the P marked - P (P + 1) / 2) / (P N)``.

    Args:
        scores: ``[B, T]``; higher is more relevant.
        rationale: Boolean ``[B, T]``, true at the tokens of the rationale.
        mask: ``[B, T]``, 0 or false at tokens that do not count (padding, special
            tokens). Defaults to ``None``: all count.

    Returns:
        ``[B]`` in float64; NaN where the rationale is empty or everything, since
        there is no order to judge.
    """
    ranked = _rank(scores, rationale, mask)
    hits, misses = ranked.curves
    area = (_steps(misses) * (hits - _steps(hits) / 2)).sum(1)
    return ranked.defined(area / (hits[:, -1:] * misses[:, -1:]).sum(1))


def auprc(scores: Tensor, rationale: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average precision, the area under the steps of precision over recall.

    ``sum_k (R_k - R_(k-1)) P_k`` over the distinct scores as thresholds: equal scores
    enter together, and nothing is interpolated.

    Args:
        scores: ``[B, T]``; higher is more relevant.
        rationale: Boolean ``[B, T]``, true at the tokens of the rationale.
        mask: As for ``auroc``.

    Returns:
        ``[B]`` in float64; NaN where the rationale is empty or everything.
    """
    ranked = _rank(scores, rationale, mask)
    hits, misses = ranked.curves
    precision = hits / (hits + misses).clamp(min=1)
    return ranked.defined((_steps(hits) * precision).sum(1) / hits[:, -1:].sum(1))


def token_f1(
    scores: Tensor,
    rationale: Tensor,
    mask: Tensor | None = None,
    *,
    k: int | Tensor | None = None,
    threshold: float | None = None,
) -> Tensor:
    """Harmonic mean of precision and recall when the best tokens are predicted.

    Where equal scores leave open which tokens are the k best, the result is the mean
    over all choices, which is exact as F1 = 2 TP / (k + P) is linear in TP.

    Args:
        scores: ``[B, T]``; higher is more relevant.
        rationale: Boolean ``[B, T]``, true at the tokens of the rationale.
        mask: As for ``auroc``.
        k: How many tokens are predicted, a number from 0 on or one for each example
            ``[B]``; all where there are fewer. Defaults to ``None``: as many as the
            rationale has, so that precision, recall and F1 are one number.
        threshold: Predict the tokens that score at least this, instead. Defaults to
            ``None``.

    Returns:
        ``[B]`` in float64; NaN where the rationale is empty or everything.

    Raises:
        ArgumentError: If ``k`` and ``threshold`` are both given, or have a value that
            is not allowed.
    """
    ranked = _rank(scores, rationale, mask)
    size = ranked.hits.sum(1)
    if threshold is None:
        chosen = ranked.chance(size if k is None else _counts(k, size))
    elif k is None and not math.isnan(threshold):
        chosen = ranked.attended * (ranked.scores >= threshold)
    else:
        raise ArgumentError(
            f"k={k!r} and threshold={threshold!r} both say how many tokens are "
            "predicted, or the threshold is NaN. Give one of them, a number."
        )
    found = (chosen * ranked.hits).sum(1)
    return ranked.defined(2 * found / (chosen.sum(1) + size))


class _Ranked(NamedTuple):
    """Tokens in descending order of their scores.

    Attributes:
        scores: ``[B, T]``.
        attended: 1.0 where a token counts, else 0.0, ``[B, T]``.
        hits: 1.0 where it counts and belongs to the rationale, ``[B, T]``.
        last: Whether the next token's score is another one, ``[B, T]``.
    """

    scores: Tensor
    attended: Tensor
    hits: Tensor
    last: Tensor

    @property
    def curves(self) -> tuple[Tensor, Tensor]:
        """Hits and misses down to each distinct score, ``[B, T + 1]`` from 0 on."""
        return self._totals(self.hits), self._totals(self.attended - self.hits)

    def chance(self, k: Tensor) -> Tensor:
        """Return how likely each token is among the ``k [B]`` best, ``[B, T]``."""
        totals = self._totals(self.attended)
        first = self.last.roll(1, 1)
        first[:, :1] = True
        group = first.cumsum(1) - 1
        before = totals[:, :-1]
        size = torch.zeros_like(before).scatter_add_(1, group, self.attended)
        share = (k[:, None] - before) / size.gather(1, group).clamp(min=1)
        return share.clamp(0, 1) * self.attended

    def defined(self, values: Tensor) -> Tensor:
        """Return values [B], NaN where the rationale is empty or everything."""
        found, total = self.hits.sum(1), self.attended.sum(1)
        return values.where((found > 0) & (found < total), torch.nan)

    def _totals(self, weights: Tensor) -> Tensor:
        """Sum the tokens that score no less than the last distinct score."""
        sums = torch.where(self.last, weights.cumsum(1), 0.0)
        return F.pad(sums, (1, 0)).cummax(1).values


def _rank(scores: Tensor, rationale: Tensor, mask: Tensor | None) -> _Ranked:
    """Sort the tokens of each example."""
    _check(scores, rationale, mask)
    kept = torch.ones_like(rationale) if mask is None else mask != 0
    ordered, order = scores.sort(dim=1, descending=True)
    last = torch.ones_like(kept)
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    attended = kept.gather(1, order).double()
    return _Ranked(ordered, attended, rationale.gather(1, order) * attended, last)


def _steps(curve: Tensor) -> Tensor:
    return curve.diff(dim=1, prepend=curve[:, :1])


def _counts(k: int | Tensor, like: Tensor) -> Tensor:
    """Return how many tokens are predicted in each example, [B].

    Raises:
        ArgumentError: If that is no number from 0 on.
    """
    counts = torch.as_tensor(k, device=like.device)
    shaped = counts.ndim == 0 or counts.shape == like.shape
    whole = not counts.dtype.is_floating_point and counts.dtype != torch.bool
    if not shaped or not whole or bool((counts < 0).any()):
        raise ArgumentError(
            f"k={k!r} must be a whole number from 0 on, or one for each of the "
            f"{len(like)} examples."
        )
    return counts.expand_as(like).double()


def _check(scores: Tensor, rationale: Tensor, mask: Tensor | None) -> None:
    """Refuse what has no order or no place for each token.

    Raises:
        ArgumentError: If scores, rationale or mask are not what ``auroc`` takes.
    """
    named = {"scores": scores, "rationale": rationale, "mask": mask}
    for name, value in named.items():
        if value is None and name == "mask":
            continue
        if not isinstance(value, Tensor) or value.ndim != 2:
            raise ArgumentError(
                f"{name} must be a tensor [B, T], got {_described(value)}. For one "
                f"example write {name}[None]."
            )
        if value.shape != scores.shape:
            raise ArgumentError(
                f"{name} has the shape {list(value.shape)}, but scores have "
                f"{list(scores.shape)}. Give each score its entry."
            )
    if rationale.dtype != torch.bool:
        raise ArgumentError(
            f"rationale is a tensor of {rationale.dtype}; it must be boolean. Say "
            "which tokens count, for example by rationale > 0.5."
        )
    if scores.is_complex():
        raise ArgumentError("scores are complex numbers, which have no order.")
    wrong = scores.isnan() if mask is None else scores.isnan() & (mask != 0)
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ArgumentError(
            f"scores[{row}, {column}] is NaN, which has no rank. Look for its origin, "
            "or leave that token out by the mask."
        )


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"the shape {list(value.shape)}"
    return f"a {type(value).__name__}"
