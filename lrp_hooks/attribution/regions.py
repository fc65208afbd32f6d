"""A target over places of a picture: the mean of a map over a region."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import TargetError
from .spots import field_of

__all__ = ["Regions"]


@dataclass(frozen=True, eq=False)
class Regions:
    """A target function: for each example the weighted mean of one of its maps.

    Attributes:
        field: The output that holds the maps, [B, C, H, W], or one map, [B, H, W].
        classes: Which map of each example, [B]; None where there is one.
        weights: How much each place counts, [B, H, W]; they sum to 1.
        names: What is explained, [B].
    """

    field: str
    classes: tuple[int, ...] | None
    weights: Tensor
    names: tuple[str, ...]

    def __call__(self, output: Any) -> Tensor:
        """Take the mean of each example's map.

        Args:
            output: What the model returned.

        Returns:
            [B].

        Raises:
            TargetError: If the output has no such maps.
        """
        values = field_of(output, self.field)
        shape = None if values is None else (len(values), *values.shape[-2:])
        if values is None or shape != tuple(self.weights.shape):
            raise TargetError(
                f"the target is a region of {self.field} of {len(self.weights)} "
                f"examples, {list(self.weights.shape)}, but the model returned "
                f"{None if values is None else list(values.shape)}."
            )
        if self.classes is not None:
            rows = torch.arange(len(values), device=values.device)
            values = values[rows, torch.tensor(self.classes, device=values.device)]
        mean: Tensor = (values * self.weights.to(values)).sum((1, 2))
        return mean

    def of(self, rows: Iterable[int]) -> Regions:
        """Choose among the examples.

        Args:
            rows: The example that each row of another batch belongs to.

        Returns:
            The target of that batch.
        """
        chosen = list(rows)
        classes = self.classes
        return Regions(
            self.field,
            None if classes is None else tuple(classes[row] for row in chosen),
            self.weights[torch.tensor(chosen)],
            tuple(self.names[row] for row in chosen),
        )
