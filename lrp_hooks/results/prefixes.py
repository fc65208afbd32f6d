"""Values at the positions before each of several tokens, without what comes after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Prefixes"]


@dataclass(frozen=True, eq=False, repr=False)
class Prefixes(Mapping[str, Tensor]):
    """Matrices ``[G, N]`` by name, whose row t is 0 from column ``first + t`` on.

    Each is made when it is asked for; kept are its rows alone, one after the other.

    Args:
        rows: ``{name: values}``, the first columns of every row.
        first: How many columns the first row has.
        count: G.
        width: N.
    """

    rows: dict[str, Tensor]
    first: int
    count: int
    width: int

    @classmethod
    def of(cls, matrices: Mapping[str, Tensor], first: int, width: int) -> Prefixes:
        """Keep what stands in matrices.

        Args:
            matrices: ``{name: [G, at least first + G - 1]}``.
            first: See `Prefixes`.
            width: See `Prefixes`.

        Returns:
            The same.
        """
        count = len(next(iter(matrices.values()))) if matrices else 0
        rows = {
            name: torch.cat([row[: first + t] for t, row in enumerate(matrix)])
            for name, matrix in matrices.items()
        }
        return cls(rows, first, count, width)

    def __getitem__(self, name: str) -> Tensor:
        """Return a matrix, ``[G, N]``."""
        values = self.rows[name]
        ends = self.first + torch.arange(self.count, device=values.device)[:, None]
        kept = torch.arange(self.width, device=values.device) < ends
        return values.new_zeros(self.count, self.width).masked_scatter(kept, values)

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.rows)
