"""The linear surrogate that LIME and Kernel SHAP fit, for Captum to fit it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError

__all__ = ["Ridge"]


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

        Raises:
            ArgumentError: If the samples do not determine them.
        """
        z, y, w = (tensor.double() for tensor in next(iter(data)))
        d, w = z.shape[1], w[:, None]

        def centred(t: Tensor) -> Tensor:
            scaled: Tensor = w.sqrt() * (t - (w * t).sum(0) / w.sum())
            return scaled

        penalty = self.alpha**0.5 * torch.eye(d, dtype=torch.float64)
        design = torch.cat([centred(z), penalty])
        aims = torch.cat([centred(y[:, None]), penalty.new_zeros(d, 1)])
        if int(torch.linalg.matrix_rank(design)) < d:
            raise ArgumentError(
                f"n_samples={len(z)} drew subsets that do not determine the scores of "
                f"{d} features; draw more, for example n_samples={10 * (d + 2)}."
            )
        self.coefficients = torch.linalg.lstsq(design, aims).solution[:, 0]

    def representation(self) -> Tensor:
        """Return the coefficients.

        Returns:
            b, [d].
        """
        return self.coefficients
