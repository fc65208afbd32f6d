"""How good a surrogate is on perturbations that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .gauss_newton import Problem, Solution
from .surrogate import predict

__all__ = ["Fidelity", "Heldout", "cross_validate"]

FOLDS = 8
FITTED_ANEW = 1024
"""Samples over all folds, at least: of few, a fold must not take many away."""
CHANCE = 1.0
"""Standard errors by which a surrogate must beat the constant predictor..."""
PLAIN = 0.5
"""... unless it explains this share of the variance."""

ROUNDING = 1e-14
"""Of the squared outputs: what differs by no more is the same."""


@dataclass(frozen=True)
class Fidelity:
    """Mean squared errors, half of them of deletions and half of short sequences.

    Args:
        error: Of the surrogate.
        constant_error: Of the mean of all other perturbations.
        gain: The standard errors by which the surrogate is the better one.
    """

    error: float
    constant_error: float
    gain: float

    @property
    def r2(self) -> float:
        """The explained share of the variance; 0 where there is no variance."""
        if self.constant_error == 0:
            return 0.0
        return 1 - self.error / self.constant_error

    @property
    def beats_constant(self) -> bool:
        """Whether the surrogate is better by more than chance."""
        return self.r2 > PLAIN or (self.r2 > 0 and self.gain > CHANCE)


@dataclass(frozen=True)
class Heldout:
    """Predictions of perturbations by surrogates that were not fitted to them.

    Args:
        outputs: What the model says, ``[N]``.
        predictions: What the surrogate says, ``[N]``.
        short: Boolean ``[N]``: short sequences, the others are deletions.
        default: The constant that is predicted where there is just one perturbation.
    """

    outputs: Tensor
    predictions: Tensor
    short: Tensor
    default: float

    def of_kind(self, *, short: bool) -> Heldout:
        """Return the short sequences alone, or the deletions alone."""
        kept = self.short == short
        parts = (self.outputs[kept], self.predictions[kept], self.short[kept])
        return Heldout(*parts, self.default)

    @property
    def weights(self) -> Tensor:
        """``[N]``, of sum 1: each kind that is there counts the same."""
        weights = torch.zeros_like(self.outputs)
        for kind in (self.short, ~self.short):
            if bool(kind.any()):
                weights[kind] = 1 / kind.sum().to(weights)
        return weights / weights.sum().clamp(min=1e-300)

    @property
    def constants(self) -> Tensor:
        """The weighted mean of all others, for each: ``[N]``."""
        if len(self.outputs) < 2:
            return torch.full_like(self.outputs, self.default)
        weighted = self.weights * self.outputs
        return (weighted.sum() - weighted) / (1 - self.weights)

    @property
    def fidelity(self) -> Fidelity:
        """The errors."""
        errors = (self.outputs - self.predictions) ** 2
        constant_errors = (self.outputs - self.constants) ** 2
        gains = constant_errors - errors
        mean = self.weights @ gains
        deviation = ((self.weights * (gains - mean)) ** 2).sum().sqrt()
        constant_error = self.weights @ constant_errors
        if constant_error <= ROUNDING * self.outputs.square().sum():
            return Fidelity(0.0, 0.0, 0.0)
        return Fidelity(
            float(self.weights @ errors),
            float(constant_error),
            float(mean / deviation.clamp(min=1e-300)),
        )


def cross_validate(
    problem: Problem,
    solution: Solution,
    refit: Callable[[Problem, Solution], Solution],
    heldout: Tensor,
) -> Tensor:
    """Predict samples by fits to the others.

    Args:
        problem: All samples that are fitted.
        solution: The fit to all of them, which a fit to fewer may start from.
        refit: Fits a problem.
        heldout: The indices of the samples to be predicted.

    Returns:
        A prediction for each index.
    """
    found = torch.empty(len(heldout), dtype=problem.outputs.dtype)
    folds = min(max(FOLDS, FITTED_ANEW // max(len(heldout), 1)), len(heldout))
    for fold in range(folds):
        out = heldout[fold::folds]
        kept = torch.ones_like(problem.outputs, dtype=torch.bool)
        kept[out] = False
        # Where nothing else was fitted, nothing is known but what is expected anyway.
        others = refit(problem.rows(kept), solution) if bool(kept.any()) else solution
        found[fold::folds] = predict(problem.counts[out], *others)
    return found
