"""What a metric returns: one curve an example, and numbers that sum it up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..support.seeds import check_seed

__all__ = ["Curve", "bootstrap"]

RESAMPLES = 2000
_SUMMARIES = ("area", "mean")


@dataclass(frozen=True, eq=False)
class Curve:
    """What a model says while more and more of its input is taken away or given back.

    Attributes:
        fractions: The share of tokens at each of K steps, ``[K]``.
        values: What was read off the model, ``[B, K]``.
        summary: What ``score`` is: ``"area"``, or ``"mean"`` over the steps at which
            anything was done (those of a fraction above 0).
    """

    fractions: Tensor
    values: Tensor
    summary: str = "area"

    def __post_init__(self) -> None:
        """Refuse values that belong to other steps.

        Raises:
            ArgumentError: If the shapes do not fit, or there is no such summary.
        """
        if self.values.ndim != 2 or self.values.shape[1:] != self.fractions.shape:
            raise ArgumentError(
                f"values has shape {tuple(self.values.shape)} and fractions "
                f"{tuple(self.fractions.shape)}; they must be [B, K] and [K]."
            )
        if self.summary not in _SUMMARIES:
            raise ArgumentError(
                f"summary={self.summary!r} must be one of "
                f"{', '.join(map(repr, _SUMMARIES))}."
            )

    @property
    def area(self) -> Tensor:
        """The area under each curve by the trapezoidal rule, ``[B]``."""
        return torch.trapezoid(self.values, self.fractions, dim=1)

    @property
    def score(self) -> Tensor:
        """The number that the papers' tables print, ``[B]``: the area or the mean."""
        if self.summary == "area":
            return self.area
        return self.values[:, self.fractions > 0].mean(1)

    @property
    def mean(self) -> Tensor:
        """The mean curve over the examples, ``[K]``."""
        return self.values.mean(0)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Bound the mean score over examples like these, see `bootstrap`.

        Args:
            confidence: The share of resamples inside. Defaults to ``0.95``.

        Returns:
            The lower and the upper bound.
        """
        return bootstrap(self.score, confidence)


def bootstrap(
    values: Tensor, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bound a mean by the percentile bootstrap over examples.

    Examples without a value (NaN) count as absent. Of a single one nothing is known
    about spread, and both bounds are its value.

    Args:
        values: One number an example, ``[B]``.
        confidence: The share of resamples inside, between 0 and 1. Defaults to
            ``0.95``.
        seed: Of the resamples; no global random state is read or moved.

    Returns:
        The lower and the upper bound; NaN where no example has a value.

    Raises:
        ArgumentError: If an argument is not as described.
    """
    if values.ndim != 1:
        raise ArgumentError(
            f"values has shape {tuple(values.shape)}; it must be [B], one number an "
            "example."
        )
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence={confidence!r} must lie between 0 and 1.")
    known = values.detach().cpu().double()
    known = known[~known.isnan()]
    if not len(known):
        return float("nan"), float("nan")
    generator = torch.Generator().manual_seed(check_seed(seed))
    size = (RESAMPLES, len(known))
    means = known[torch.randint(len(known), size, generator=generator)].mean(1)
    tail = (1 - confidence) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail]).double()).tolist()
    return low, high
