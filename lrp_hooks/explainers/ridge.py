"""The linear surrogate that LIME fits, for Captum to fit it, and least squares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["Ridge", "least_squares"]


def least_squares(design: Tensor, aims: Tensor, samples: Sequence[int]) -> Tensor:
    """Solve least squares that determine each unknown.

    Args:
        design: [M, k] in float64.
        aims: [M].
        samples: How many coalitions were drawn, of how many features.

    Returns:
        [k].

    Raises:
        ArgumentError: If they do not determine them.
    """
    number, d = samples
    if int(torch.linalg.matrix_rank(design)) < design.shape[1]:
        raise ArgumentError(
            f"n_samples={number} drew subsets that do not determine the scores of "
            f"{d} features; draw more, for example n_samples={10 * (d + 2)}."
        )
    # LAPACK's default, gelsy, has other last digits at other addresses in memory.
    solved = torch.linalg.lstsq(design, aims[:, None], driver="gels")
    found: Tensor = solved.solution[:, 0]
    return found


class Ridge:
    """Weighted ridge regression with a free intercept, solved in float64.

    It minimises sum_n w_n (y_n - a - <z_n, b>)^2 + alpha |b|^2.
    """

    def __init__(self, alpha: float) -> None:
        """Choose the penalty.

        Args:
            alpha: Its weight; 0 is least squares.
        """
        self.alpha = alpha
        self.coefficients = torch.empty(0)

    def fit(self, data: Iterable[Any]) -> None:
        """Fit the coefficients.

        Args:
            data: One batch of coalitions z [N, d], values y [N] and weights w [N].
        """
        z, y, w = (tensor.double() for tensor in next(iter(data)))
        d, w = z.shape[1], w[:, None]

        def centred(t: Tensor) -> Tensor:
            scaled: Tensor = w.sqrt() * (t - (w * t).sum(0) / w.sum())
            return scaled

        penalty = self.alpha**0.5 * torch.eye(d, dtype=torch.float64)
        design = torch.cat([centred(z), penalty])
        aims = torch.cat([centred(y[:, None])[:, 0], penalty.new_zeros(d)])
        self.coefficients = least_squares(design, aims, z.shape)

    def representation(self) -> Tensor:
        """Return the coefficients.

        Returns:
            b, [d].
        """
        return self.coefficients
