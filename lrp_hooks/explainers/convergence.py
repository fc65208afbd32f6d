"""How far integrated gradients are from what they should sum to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ConvergenceWarning

__all__ = ["warn_of_divergence"]

_SHARE = 0.05  # of the output, or of what the way changes of it
_ROUNDING = 1e-3  # of what cancels in the sum


def warn_of_divergence(
    values: Sequence[Tensor], deltas: Sequence[float], output: Tensor, n_steps: int
) -> None:
    """Warn of sums that are far from the outputs that they should come to.

    A small error beside the output is none that matters where the baseline's output
    happens to be as large.

    Args:
        values: The integrals times the way, [B, ...] for each tensor that was read.
        deltas: Their sums less what the output changes by on the way, B of them.
        output: The explained scalars, [B].
        n_steps: How many points the quadrature has.
    """
    rows = torch.cat([value.double().flatten(1) for value in values], 1).cpu()
    delta = torch.tensor(deltas, dtype=torch.float64)
    change = rows.sum(1) - delta
    size = torch.maximum(change.abs(), output.detach().double().cpu().abs())
    allowed = torch.maximum(_SHARE * size, _ROUNDING * rows.abs().sum(1))
    over = delta.abs() - allowed
    if not bool((over > 0).any()):
        return
    row = int(over.argmax())
    warnings.warn(
        f"integrated_gradients sum to {float(rows[row].sum()):.4g} for example {row}, "
        f"but the output changes by {float(change[row]):.4g} from the baseline on: "
        f"n_steps={n_steps} points are too few for this model. Take n_steps="
        f"{8 * n_steps}, a baseline= nearer to the input, or another method.",
        ConvergenceWarning,
        stacklevel=2,
    )
