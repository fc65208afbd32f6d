"""All subsets of a document's words: LIME's fit to them, and to samples of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .classifier import UNKNOWN_TOKEN, AttentionClassifier
from .lime import at_positions, kernel, word_columns

__all__ = ["Subsets", "fitted", "shown", "subsets"]

_DEVIATIONS = 6.0
_DECISIVE = 0.5
"""The leverage from which on one sample can decide a fit, whatever the others say."""


@dataclass(frozen=True, eq=False)
class Subsets:
    """All subsets of ``d`` words, ``N`` of them, the original last.

    Attributes:
        columns: The index of the word at each position ``[T]``, ``d`` where none is.
        masks: Which words are kept, ``[N, d]``.
        chances: How likely LIME draws each, ``[N]``. The original it does not draw: it
            is always one of the samples.
        logits: What the classifier says of each, ``[N]``.
    """

    columns: Tensor
    masks: Tensor
    chances: Tensor
    logits: Tensor

    def fit(self, width: float) -> Tensor:
        """Fit LIME's linear model to all subsets, as likely as it draws them.

        Args:
            width: Width of the kernel.

        Returns:
            Each word's slope at its positions ``[T]``, 0 elsewhere.
        """
        return at_positions(self._limit(width)[:-1], self.columns)

    def allowance(self, samples: int, width: float) -> float:
        """Bound how far a fit to samples may be from that to all subsets.

        The original, always a sample, pulls the fit to where the samples' expected
        weights put it. Around that place one sample of weight w and residual r moves it
        by ``A^-1 x w r``, with A the expected sum of ``w x x^T``; this is to first
        order, as far as a sample's leverage ``w x^T A^-1 x`` is small.

        Args:
            samples: Their number, the original included.
            width: Width of the kernel.

        Returns:
            The largest difference of a slope, by six standard deviations; infinite
            where samples are so few that one of them can decide the fit.
        """
        design = pad(self.masks, (0, 1), value=1.0)
        weights = kernel(self.masks.mean(1), width)
        counts = (samples - 1) * self.chances
        counts[-1] += 1
        expected = fitted(self.masks, weights * counts, self.logits)
        moves = design @ torch.linalg.inv((design.T * weights * counts) @ design)
        leverage = float((weights * (moves * design).sum(1))[self.chances > 0].max())
        if leverage >= _DECISIVE:
            return math.inf
        moves *= (weights * (self.logits - design @ expected))[:, None]
        mean, square = self.chances @ moves, self.chances @ moves**2
        noise = ((samples - 1) * (square - mean**2).clamp(min=0)).sqrt()
        noise *= _DEVIATIONS / (1 - leverage / _DECISIVE)
        bias = (expected - self._limit(width)).abs()
        return float((bias + noise)[:-1].max())

    def _limit(self, width: float) -> Tensor:
        """Return slopes and the intercept of the fit to all subsets, ``[d + 1]``."""
        weights = self.chances * kernel(self.masks.mean(1), width)
        if len(weights) == 2:
            weights[-1] = 1.0  # a line needs the original, and two points are on it
        return fitted(self.masks, weights, self.logits)


def subsets(model: AttentionClassifier, ids: Tensor) -> Subsets:
    """Show a document with all subsets of its words to the classifier.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        The subsets and what it says.
    """
    columns, d = word_columns(ids)
    masks = (torch.arange(2**d)[:, None] >> torch.arange(d) & 1).double()
    sizes = masks.sum(1)
    # A size is drawn first: the many subsets of one size share its probability.
    chances = (torch.lgamma(sizes + 1) + torch.lgamma(d - sizes + 1)).exp()
    chances[-1] = 0.0
    logits = shown(model, ids, columns, masks)
    return Subsets(columns, masks, chances / chances.sum(), logits)


def shown(
    model: AttentionClassifier, ids: Tensor, columns: Tensor, masks: Tensor
) -> Tensor:
    """Show a document without some of its words to the classifier.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        columns: The index of the word at each position ``[T]``, ``d`` where none is.
        masks: Which words are kept, ``[N, d]``.

    Returns:
        The logit of class 1, ``[N]``.
    """
    kept = pad(masks, (0, 1), value=1.0)[:, columns].bool()
    documents = ids.where(kept, UNKNOWN_TOKEN)
    with torch.no_grad():
        said = [model(batch)[:, 1] for batch in torch.split(documents, 512)]
    return torch.cat(said)


def fitted(masks: Tensor, weights: Tensor, logits: Tensor) -> Tensor:
    """Fit a linear model to what the classifier says.

    Args:
        masks: Which words are kept, ``[N, d]``.
        weights: ``[N]``.
        logits: ``[N]``.

    Returns:
        The slope of each word, then the intercept, ``[d + 1]``.
    """
    root = weights.sqrt()[:, None]
    design = pad(masks, (0, 1), value=1.0)
    solved = torch.linalg.lstsq(root * design, root * logits[:, None])
    found: Tensor = solved.solution[:, 0]
    return found
