"""A target over two towers: each text with what stands beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .spots import field_of

__all__ = ["GRID", "Pairs", "paired", "similarity"]

GRID = "logits_per_text"
"""The output that has the similarity of each text with each of something else."""


@dataclass(frozen=True)
class Pairs:
    """A target function: the similarity of each text with what stands beside it.

    Attributes:
        names: Which ones they are, [B].
    """

    names: tuple[str, ...]

    def __call__(self, output: Any) -> Tensor:
        """Pick the similarities.

        Args:
            output: What a model of two towers returned.

        Returns:
            ``[B]``.
        """
        return similarity(output)

    def of(self, rows: Iterable[int]) -> Pairs:
        """Choose among the examples.

        Args:
            rows: The example that each row of another batch belongs to.

        Returns:
            The target of that batch.
        """
        return Pairs(tuple(self.names[row] for row in rows))


def similarity(output: Any) -> Tensor:
    """Pick the similarity of each text with what stands beside it.

    Args:
        output: What a model of two towers returned.

    Returns:
        The diagonal of its grid, ``[B]``.
    """
    grid: Tensor = getattr(output, GRID)
    return grid.diagonal()


def paired(output: Any) -> Pairs | None:
    """Explain the similarity of each text with what stands beside it.

    Args:
        output: What a model returned.

    Returns:
        The target; None where there is no square grid of similarities.
    """
    grid = field_of(output, GRID)
    if grid is None or grid.ndim != 2 or len(grid) != grid.shape[1]:
        return None
    return Pairs(("similarity",) * len(grid))
