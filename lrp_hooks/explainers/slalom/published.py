"""The fits as published: Adam (SLALOM-eff), alternating least squares (-fidel)."""

from __future__ import annotations

import torch
from torch import Tensor

from .gauss_newton import Problem, Solution
from .surrogate import predict, shares

__all__ = ["DELETION_SCHEDULE", "SHORT_SCHEDULE", "fit_als", "fit_sgd"]

BATCH = 128
SHORT_SCHEDULE = (5e-3, 60)
DELETION_SCHEDULE = (3e-2, 100)
"""Learning rate and epochs, as the authors' experiments have them."""


def fit_sgd(problem: Problem, rate: float, epochs: int) -> Solution:
    """Fit as SLALOM-eff does: Adam on the sum of squares, in the order of the samples.

    Args:
        problem: The samples; weights are not used.
        rate: Learning rate.
        epochs: Passes over the samples.

    Returns:
        The last state.
    """
    width = problem.counts.shape[1]
    values, importances = (problem.outputs.new_zeros(width) for _ in range(2))
    optimizer = torch.optim.Adam([values, importances], lr=rate)
    for _ in range(epochs):
        for start in range(0, len(problem.outputs), BATCH):
            share = shares(problem.counts[start : start + BATCH], importances)
            found = share @ values
            slope = 2 * (found - problem.outputs[start : start + BATCH])
            values.grad = slope @ share
            if not problem.fixed:
                importances.grad = slope @ (share * (values - found[:, None]))
            optimizer.step()
    return Solution(values, importances)


def fit_als(problem: Problem, full: float) -> Solution:
    """Fit as SLALOM-fidel does: values, importances, and values once more.

    Args:
        problem: The samples; weights are not used.
        full: The log-odds of the whole text, what values are if nothing says more.

    Returns:
        The solution; importances stay 0 unless they lower the squared error.
    """
    counts, outputs = problem.counts, problem.outputs
    zeros = torch.zeros_like(counts[0])
    first = Solution(_values(counts, outputs, zeros, full), zeros)
    if problem.fixed:
        return first
    weights = _weights(counts * (first.values - outputs[:, None]))
    importances = weights.clamp(min=1e-12).log()
    second = Solution(_values(counts, outputs, importances, full), importances)
    errors = [
        float(((predict(counts, *s) - outputs) ** 2).sum()) for s in (first, second)
    ]
    return second if errors[1] < errors[0] else first


def _values(
    counts: Tensor, outputs: Tensor, importances: Tensor, full: float
) -> Tensor:
    """Return the values of least squares, closest to ``full`` where there are many."""
    share = shares(counts, importances)
    residual = outputs - share.sum(1) * full
    moved: Tensor = torch.linalg.pinv(share, rtol=1e-10) @ residual
    return full + moved


def _weights(rows: Tensor, steps: int = 2000) -> Tensor:
    """Return the ``w >= 0`` of mean 1 for which ``rows @ w`` is smallest.

    Projected gradients with momentum (Beck and Teboulle 2009), onto the simplex.
    """
    width = rows.shape[1]
    gram = rows.T @ rows
    rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp(min=1e-30)
    weights = ahead = rows.new_ones(width)
    momentum = 1.0
    for _ in range(steps):
        moved = _project(ahead - rate * (gram @ ahead))
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        if float((moved - weights).abs().max()) < 1e-10:
            break
        weights, momentum = moved, following
    return weights


def _project(point: Tensor) -> Tensor:
    """Return the closest point with entries ``>= 0`` that average to 1."""
    width = len(point)
    ordered = point.sort(descending=True).values
    excess = (ordered.cumsum(0) - width) / torch.arange(1, width + 1).to(point)
    last = int((ordered > excess).sum()) - 1
    return (point - excess[last]).clamp(min=0)
