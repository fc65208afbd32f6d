"""A target at places: which logits of a sequence are explained in each example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import TargetError

__all__ = ["Spot", "Spots"]


@dataclass(frozen=True)
class Spot:
    """One entry of a model's output.

    Attributes:
        field: The name of the output that it is in.
        place: Its index in an example: a position, or a position and a class.
    """

    field: str
    place: tuple[int, ...]


@dataclass(frozen=True)
class Spots:
    """A target function: for each example, the sum of some entries of its outputs.

    Attributes:
        spots: The entries of each example, as many for each, [B].
        names: What they mean, [B].
    """

    spots: tuple[tuple[Spot, ...], ...]
    names: tuple[str, ...]

    def __call__(self, output: Any) -> Tensor:
        """Pick the entries of each example.

        Args:
            output: What the model returned.

        Returns:
            Their sum, [B]. An output without such an entry is refused.
        """
        columns = zip(*self.spots, strict=True)
        picked = [self._pick(output, list(column)) for column in columns]
        return torch.stack(picked).sum(0)

    def of(self, rows: Iterable[int]) -> Spots:
        """Choose among the examples.

        Args:
            rows: The example that each row of another batch belongs to.

        Returns:
            The target of that batch.
        """
        chosen = list(rows)
        return Spots(
            tuple(self.spots[row] for row in chosen),
            tuple(self.names[row] for row in chosen),
        )

    @staticmethod
    def _pick(output: Any, column: list[Spot]) -> Tensor:
        field = column[0].field
        values = (
            output
            if isinstance(output, Tensor)
            else output.get(field)
            if isinstance(output, Mapping)
            else getattr(output, field, None)
        )
        places = torch.tensor([spot.place for spot in column])
        shape = None if not isinstance(values, Tensor) else tuple(values.shape)
        ends = places.amax(0).tolist()
        if (
            shape is None
            or len(shape) != 1 + len(ends)
            or shape[0] != len(column)
            or any(end >= size for end, size in zip(ends, shape[1:], strict=True))
        ):
            raise TargetError(
                f"the target is {field} at {column[0].place} and the like of "
                f"{len(column)} examples, but the model returned {field} of shape "
                f"{shape}; a method that takes tokens out moves the others, so choose "
                "one that replaces them."
            )
        assert isinstance(values, Tensor)
        rows = torch.arange(len(column), device=values.device)
        return values[(rows, *places.to(values.device).T)]
