"""Damped Gauss-Newton on importances, with values eliminated; the choice of the ridge.

``M`` samples, ``D`` token types. With P = shares(counts, s) the surrogate F = P v is
linear in v: for any importances the best values are a ridge regression. Steps are taken
in s alone and v is solved for again after each (variable projection: Golub and Pereyra
1973, in Kaufman's form of 1975), which follows the curved valleys v exp(s) = constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .surrogate import shares

__all__ = ["RIDGES", "Problem", "Solution", "fit", "leave_one_out", "ridge_path"]

RIDGES = (1e-1, 1e-2, 3e-3, 1e-3, 1e-4, 1e-11)
"""From strong to none: data of an exact SLALOM are to be reproduced exactly."""
IMPORTANCE_RIDGE = 10.0
"""Ridge of importances beside that of values, in units of the outputs' variance."""
LONGEST_STEP = 3.0
STEPS = 60
TRIES = 8
LOOSE, TIGHT = 1e-2, 1e-3
"""The relative fall of the loss that ends a fit: on the way, and at the end."""


class Solution(NamedTuple):
    """What a fit finds: ``values [D]`` and ``importances [D]``."""

    values: Tensor
    importances: Tensor


@dataclass(frozen=True)
class Problem:
    """Weighted least squares.

    Args:
        counts: ``[M, D]`` in float64.
        outputs: Log-odds, ``[M]``.
        weights: ``[M]``, of mean 1.
        prior: What values are drawn to.
        variance: Of the outputs, which makes the ridge free of their unit.
        fixed: Whether importances stay equal, and values alone are fitted.
    """

    counts: Tensor
    outputs: Tensor
    weights: Tensor
    prior: float
    variance: float
    fixed: bool = False

    @classmethod
    def of(
        cls, counts: Tensor, outputs: Tensor, weights: Tensor, fixed: bool = False
    ) -> Problem:
        """Weigh samples and centre the prior.

        Args:
            counts: ``[M, D]``.
            outputs: ``[M]``.
            weights: ``[M]``, of any scale.
            fixed: See the class. Defaults to ``False``.

        Returns:
            The problem.
        """
        scaled = weights / weights.mean()
        prior = (scaled * outputs).mean()
        variance = (scaled * (outputs - prior) ** 2).mean()
        return cls(counts, outputs, scaled, float(prior), float(variance), fixed)

    def rows(self, kept: Tensor) -> Problem:
        """Return the problem of some samples, boolean ``[M]``, under the same ridge."""
        return replace(
            self,
            counts=self.counts[kept],
            outputs=self.outputs[kept],
            weights=self.weights[kept],
        )

    def penalties(self, ridge: float) -> tuple[float, float]:
        """Return the weights of a squared value and of a squared importance."""
        samples, width = self.counts.shape
        scale = ridge * samples / width
        return scale, scale * IMPORTANCE_RIDGE * max(self.variance, 1e-12)


class _State:
    """Importances, the best values for them, the loss, and derivatives on demand.

    In Jacobian blocks P (values) and Q (importances), ``factor`` is the Cholesky factor
    of A = P'WP + ridge, and ``schur`` is Q'WQ + ridge - Q'WP A^-1 P'WQ.
    """

    def __init__(self, problem: Problem, ridge: float, importances: Tensor) -> None:
        self.problem, self.importances = problem, importances
        self.penalties = problem.penalties(ridge)
        self.share = shares(problem.counts, importances)
        self.weighted = self.share.T * problem.weights
        self.factor = _factor(self.weighted @ self.share, self.penalties[0])
        moved = self.weighted @ (problem.outputs - problem.prior)
        moved = torch.cholesky_solve(moved[:, None], self.factor)[:, 0]
        self.values = problem.prior + moved
        self.output = self.share @ self.values
        self.residual = problem.outputs - self.output
        error = problem.weights @ self.residual**2
        ridges = torch.stack([moved @ moved, importances @ importances])
        self.loss = float(error + ridges @ ridges.new_tensor(self.penalties))

    @cached_property
    def slopes(self) -> Tensor:
        """Q: the derivatives of outputs for importances, ``[M, D]``."""
        return self.share * (self.values - self.output[:, None])

    @cached_property
    def mixed(self) -> Tensor:
        """The mixed block of the Hessian behind the factor of A, ``[D, D]``."""
        return _solve_lower(self.factor, self.weighted @ self.slopes)

    @cached_property
    def schur(self) -> Tensor:
        """The Hessian for importances once values are eliminated, ``[D, D]``."""
        own = (self.slopes.T * self.problem.weights) @ self.slopes
        own.diagonal().add_(self.penalties[1])
        return own - self.mixed.T @ self.mixed

    @cached_property
    def descent(self) -> Tensor:
        """The negative gradient for importances, ``[D]``."""
        fall = self.slopes.T @ (self.problem.weights * self.residual)
        return fall - self.penalties[1] * self.importances

    def moved(self, ridge: float, damping: float) -> _State:
        """Return the state after one damped step."""
        damped = self.schur + damping * self.schur.diagonal().diag()
        step = torch.cholesky_solve(self.descent[:, None], _factor(damped))[:, 0]
        step = step.clamp(-LONGEST_STEP, LONGEST_STEP)
        return _State(self.problem, ridge, self.importances + step)


def fit(
    problem: Problem,
    ridge: float,
    start: Solution | None = None,
    tolerance: float = TIGHT,
) -> Solution:
    """Minimise the weighted squared error and the ridge.

    Args:
        problem: The samples.
        ridge: Strength of the ridge.
        start: Where to begin. Defaults to ``None``: equal importances.
        tolerance: The relative fall of the loss that ends it.

    Returns:
        The minimum; importances are not centred.
    """
    state = _descend(problem, ridge, start, tolerance)
    return Solution(state.values, state.importances)


def _descend(
    problem: Problem, ridge: float, start: Solution | None, tolerance: float
) -> _State:
    """Return the minimum with its derivatives; see ``fit``."""
    zeros = torch.zeros_like(problem.counts[0])
    state = _State(problem, ridge, zeros if start is None else start.importances)
    damping = 1e-3
    for _ in range(0 if problem.fixed else STEPS):
        for _ in range(TRIES):
            after = state.moved(ridge, damping)
            if after.loss < state.loss:  # false for NaN, too
                break
            damping *= 8
        else:
            break
        damping = max(damping / 8, 1e-10)
        fall, state = 1 - after.loss / state.loss, after
        if fall < tolerance:
            break
    return state


def leave_one_out(problem: Problem, ridge: float, solution: Solution) -> Tensor:
    """Predict every sample's error if it had not been fitted.

    The residual over one minus the leverage: exact for the linearised problem.

    Args:
        problem: The samples.
        ridge: The ridge that they were fitted with.
        solution: What was fitted.

    Returns:
        Errors, ``[M]``.
    """
    return _left_out(_State(problem, ridge, solution.importances))


def _left_out(state: _State) -> Tensor:
    """Return the errors of ``leave_one_out``."""
    root = state.problem.weights.sqrt()
    first = _solve_lower(state.factor, state.share.T * root)
    leverage = (first**2).sum(0)
    if not state.problem.fixed:
        rest = state.slopes.T * root - state.mixed.T @ first
        second = _solve_lower(_factor(state.schur.clone()), rest)
        leverage += (second**2).sum(0)
    errors: Tensor = state.residual / (1 - leverage).clamp(min=1e-8)
    return errors


def ridge_path(
    problem: Problem, ridges: Sequence[float] = RIDGES
) -> Iterator[tuple[float, float, Solution]]:
    """Fit with every ridge, each from where the one before ended.

    Args:
        problem: The samples.
        ridges: Strengths, the strongest first. Defaults to ``RIDGES``.

    Yields:
        The leave-one-out error, weighted as the fit is, the ridge and the solution.
    """
    solution = None
    for ridge in ridges:
        state = _descend(problem, ridge, solution, LOOSE)
        solution = Solution(state.values, state.importances)
        yield float(problem.weights @ _left_out(state) ** 2), ridge, solution


def _solve_lower(factor: Tensor, right: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
    return solved


def _factor(matrix: Tensor, ridge: float = 0.0) -> Tensor:
    """Return the Cholesky factor; of a matrix that is not definite, one with NaN."""
    diagonal = matrix.diagonal()
    diagonal.add_(ridge + 1e-13 * diagonal.max())
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor if int(info) == 0 else torch.full_like(factor, torch.nan)
