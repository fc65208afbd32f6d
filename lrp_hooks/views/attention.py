"""Attention maps: the tokens of each example, and the maps among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Example", "Layer", "Maps"]

STRONGEST = 5
"""Keys that are named with their numbers."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The maps of one layer.

    Attributes:
        module: The module that attended.
        weights: ``[H, Q, K]``.
        own: Whether queries and keys are the tokens of the example.
    """

    module: str
    weights: Tensor
    own: bool


@dataclass(frozen=True, eq=False)
class Example:
    """One example of the batch, without its padding.

    Attributes:
        tokens: The tokens, or the positions' numbers.
        special: Which of them are special, by their look.
        layers: The maps.
        breaks: How many line breaks of the text stand before each token.
    """

    tokens: list[str]
    special: list[bool]
    layers: list[Layer]
    breaks: list[int]

    def scales(self, weights: Tensor) -> list[float]:
        """Return each query's largest weight of an ordinary token, else of any.

        Args:
            weights: ``[T, T]``.

        Returns:
            T numbers.
        """
        # A special token often takes more than all words together.
        plain = [t for t, special in enumerate(self.special) if not special]
        largest = (weights[:, plain] if plain else weights).amax(1)
        return torch.where(largest > 0, largest, weights.amax(1)).tolist()

    def strongest(self, row: Tensor) -> list[tuple[str, float]]:
        """Find what a query attends to most.

        Args:
            row: Its weights, ``[T]``.

        Returns:
            At most five tokens with their weights, the largest first.
        """
        order = row.argsort(descending=True, stable=True)[:STRONGEST].tolist()
        return [(self.tokens[t], float(row[t])) for t in order]


@dataclass(frozen=True, eq=False)
class Maps:
    """The attention maps of a batch.

    Attributes:
        examples: One for each example.
    """

    examples: Sequence[Example]
