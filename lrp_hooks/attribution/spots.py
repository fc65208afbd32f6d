"""A target at places: which logits of a sequence are explained in each example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import TargetError

__all__ = ["Spot", "Spots", "field_of"]


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
        spots: The entries of each example, [B].
        names: What they mean, [B].
        boxes: Where in the picture what is meant lies: left, top, right and bottom as
            shares of it, [B]; empty where nothing has a place.
    """

    spots: tuple[tuple[Spot, ...], ...]
    names: tuple[str, ...]
    boxes: tuple[tuple[float, ...], ...] = ()

    def __call__(self, output: Any) -> Tensor:
        """Pick the entries of each example.

        Args:
            output: What the model returned.

        Returns:
            Their sum, [B]. An output without such an entry is refused.
        """
        fields = dict.fromkeys(spot.field for row in self.spots for spot in row)
        return torch.stack([self._sums(output, field) for field in fields]).sum(0)

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
            tuple(self.boxes[row] for row in chosen if self.boxes),
        )

    def _sums(self, output: Any, field: str) -> Tensor:
        """Sum what is picked of one output in each example, [B]."""
        picked = [
            (row, spot.place)
            for row, spots in enumerate(self.spots)
            for spot in spots
            if spot.field == field
        ]
        values = field_of(output, field)
        places = torch.tensor([place for _, place in picked])
        shape = None if values is None else tuple(values.shape)
        ends = places.amax(0).tolist()
        if (
            values is None
            or shape is None
            or len(shape) != 1 + len(ends)
            or shape[0] != len(self.spots)
            or any(end >= size for end, size in zip(ends, shape[1:], strict=True))
        ):
            raise TargetError(
                f"the target is {field} at {picked[0][1]} and the like of "
                f"{len(self.spots)} examples, but the model returned {field} of shape "
                f"{shape}; a method that takes tokens out moves the others, so choose "
                "one that replaces them."
            )
        rows = torch.tensor([row for row, _ in picked], device=values.device)
        found = values[(rows, *places.to(values.device).T)]
        return values.new_zeros(len(self.spots)).index_add(0, rows, found)


def field_of(output: Any, field: str) -> Tensor | None:
    """Find an output by its name.

    Args:
        output: What a model returned.
        field: The name; ``"params.1"`` is the second of several under one name.

    Returns:
        The tensor, which is the output itself if that is one; None where there is none.
    """
    if isinstance(output, Tensor):
        return output
    name, _, number = field.partition(".")
    named = isinstance(output, Mapping)
    value = output.get(name) if named else getattr(output, name, None)
    if number and isinstance(value, tuple | list) and int(number) < len(value):
        value = value[int(number)]
    return value if isinstance(value, Tensor) else None
