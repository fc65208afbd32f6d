"""Linear regression on the same perturbations: what SLALOM is to be better than.

Each kind of perturbations has a regression of its own, as one that is fitted to
deletions says nothing of short sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .sampling import Samples
from .surrogate import Stored, tally
from .validation import Heldout

__all__ = ["KINDS", "LinearFit", "LinearSurrogate", "fit_linear", "regress"]

KINDS = {"deletion": ("whole", "deletion"), "short": ("short",)}
"""What each regression is fitted to. A whole document is a deletion of none."""
RIDGES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-6)
FEWEST = 8
"""Samples below which no line is drawn through them."""


@dataclass(frozen=True, eq=False)
class LinearSurrogate(Stored):
    """F(t) = intercept + the sum of a weight for each token of a sequence.

    Args:
        ids: The token ids it knows, ``[D]``, ascending.
        weights: ``[D]``.
        intercept: Of no dimension.
    """

    ids: Tensor
    weights: Tensor
    intercept: Tensor

    def __call__(self, ids: Tensor) -> Tensor:
        """Predict the log-odds of sequences.

        Args:
            ids: ``[N, L]``. Ids that are not known, padding for one, weigh nothing.

        Returns:
            ``[N]``.
        """
        return tally(self.ids, ids, self.weights) @ self.weights + self.intercept


@dataclass(frozen=True)
class LinearFit:
    """A regression and its error on held-out perturbations of its kind.

    Args:
        surrogate: The regression.
        error: Mean squared error, cross-validated where they were fitted as well.
    """

    surrogate: LinearSurrogate
    error: float


def fit_linear(
    samples: Samples, counts: Tensor, outputs: Tensor, heldout: Heldout
) -> dict[str, LinearFit]:
    """Regress each kind of perturbations on the tokens that are left.

    Args:
        samples: The perturbations, ``M`` of them.
        counts: Of their tokens, ``[M, D + 1]``; special ones, the last, are constant.
        outputs: Log-odds, ``[M]``.
        heldout: What is predicted, for its kinds.

    Returns:
        By the names of ``KINDS``: one for each kind that was fitted and is held out.
    """
    return {
        name: LinearFit(surrogate, error)
        for name, surrogate, error in _fits(samples, counts[:, :-1], outputs)
        if len(heldout.of_kind(short=name == "short").outputs)
    }


def _fits(
    samples: Samples, counts: Tensor, outputs: Tensor
) -> Iterator[tuple[str, LinearSurrogate, float]]:
    """Yield each kind's regression and its error."""
    fitted, held = torch.tensor(samples.fitted), torch.tensor(samples.heldout)
    for name, kinds in KINDS.items():
        rows, judged = samples.of(*kinds) & fitted, samples.of(name) & held
        if int(rows.sum()) < FEWEST or not bool(judged.any()):
            continue
        weights, intercept, left_out = regress(counts[rows], outputs[rows])
        predictions = counts @ weights + intercept
        # What is fitted and held out is predicted by the fit to all others.
        predictions[rows] = outputs[rows] - left_out
        errors = (outputs - predictions)[judged] ** 2
        ids = torch.tensor(samples.text.vocabulary)
        yield name, LinearSurrogate(ids, weights, intercept), float(errors.mean())


def regress(counts: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a ridge regression whose ridge has the least leave-one-out error.

    Args:
        counts: ``[M, D]``.
        outputs: ``[M]``.

    Returns:
        Weights ``[D]``, the intercept, which has no ridge, and the leave-one-out
        errors ``[M]``, which are exact.
    """
    middle, mean = counts.mean(0), outputs.mean()
    left, scales, right = torch.linalg.svd(counts - middle, full_matrices=False)
    found = []
    for ridge in RIDGES:
        kept = scales**2 / (scales**2 + ridge * len(counts))
        smoothed = left * kept
        residual = outputs - mean - smoothed @ (left.T @ (outputs - mean))
        leverage = (smoothed * left).sum(1) + 1 / len(counts)
        errors = residual / (1 - leverage).clamp(min=1e-8)
        found.append((float(errors @ errors), ridge, errors))
    _, ridge, errors = min(found, key=lambda one: one[0])
    shrunk = scales / (scales**2 + ridge * len(counts))
    weights = right.T @ (shrunk * (left.T @ (outputs - mean)))
    return weights, mean - middle @ weights, errors
