"""What DecompX returns: class attributions, and the vectors behind them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError
from ...explanation import Explanation
from ...words import Grouping

__all__ = ["DecompXExplanation"]


@dataclass(kw_only=True, eq=False, repr=False)
class DecompXExplanation(Explanation):
    """Class attributions of K source tokens: K = T, or T + 1 with ``bias="token"``.

    For ``target="all"``, ``scores`` are ``[B, K, C]`` and ``output`` is ``[B, C]``;
    `of` takes out one class.

    Args:
        biases: Relevance of all biases together before the bias rule shared it, ``[B]``
            (``[B, C]`` for all classes); ``None`` where the decomposition shared them
            as it went.
        layers: ``{stage: Tensor [L, B, T, K]}`` of norms, or ``[L, B, T, K, D]`` of
            vectors, for the stages asked for.
        aggregated: The same after the last layer, ``[B, T, K]`` or ``[B, T, K, D]``.
        pooler: The same before the classifier, ``[B, K]`` or ``[B, K, D]``.
    """

    biases: Tensor | None = None
    layers: dict[str, Tensor] = field(default_factory=dict)
    aggregated: Tensor | None = None
    pooler: Tensor | None = None

    def of(self, target: int) -> DecompXExplanation:
        """Take one class out of an explanation of all.

        Args:
            target: The class.

        Returns:
            Its explanation, ``scores`` ``[B, K]``.

        Raises:
            ArgumentError: If this explains one class already, or if there is no such
                class.
        """
        if self.output.ndim != 2:
            raise ArgumentError(
                f"of({target}) takes a class out of an explanation of all, and this "
                f"one explains {self.targets}. Call the explainer with target='all'."
            )
        if not 0 <= target < self.output.shape[1]:
            raise ArgumentError(
                f"of({target}) is no class of this model; it must be from 0 to "
                f"{self.output.shape[1] - 1}."
            )
        assert isinstance(self.scores, Tensor)
        biases = None if self.biases is None else self.biases[:, target]
        return replace(
            self,
            scores=self.scores[..., target],
            output=self.output[:, target],
            target=torch.full((len(self.output),), target),
            biases=biases,
        )

    def _merged(self, grouping: Grouping) -> dict[str, Any]:
        """Return also what goes with words; vectors by token do not."""
        gone: dict[str, Any] = {"layers": {}, "aggregated": None, "pooler": None}
        return {**super()._merged(grouping), **gone}
