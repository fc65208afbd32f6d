"""What there is to show of attention maps: tokens, and the maps among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..results.words import group

if TYPE_CHECKING:
    from ..attribution.attention_maps import AttentionMap, AttentionMaps, Tokens

__all__ = ["Example", "Layer", "examples"]

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
    """

    tokens: list[str]
    special: list[bool]
    layers: list[Layer]

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


def examples(maps: AttentionMaps, tokens: Tokens) -> list[Example]:
    """Collect what there is to show.

    Args:
        maps: The maps.
        tokens: See `AttentionMaps.to_html`.

    Returns:
        One for each example of the batch.
    """
    batch, length = len(maps[0].weights), maps[0].weights.shape[-1]
    attended = maps.attended
    if attended is None or tuple(attended.shape) != (batch, length):
        attended = torch.ones(batch, length, dtype=torch.bool)
    kept = [row.nonzero().flatten().tolist() for row in attended.cpu()]
    if tokens is None and all(len(row) == length for row in maps.tokens or ()):
        tokens = maps.tokens
    named = _named(tokens, kept, length)
    own = [_is_own(found, maps, length) for found in maps]
    return [
        Example(row, _special(row), _layers(maps, own, b, kept[b]))
        for b, row in enumerate(named)
    ]


def _is_own(found: AttentionMap, maps: AttentionMaps, length: int) -> bool:
    """Tell self-attention among the tokens from a decoder's, which may be as many."""
    split = any("encoder" in one.module.split(".") for one in maps)
    inside = not split or "encoder" in found.module.split(".")
    return inside and found.weights.shape[-2:] == (length, length)


def _layers(
    maps: AttentionMaps, own: list[bool], b: int, kept: list[int]
) -> list[Layer]:
    layers = []
    for found, mine in zip(maps, own, strict=True):
        weights = found.weights[b].detach().cpu().double()
        if mine:
            weights = weights[:, kept][:, :, kept]
        layers.append(Layer(found.module, weights, mine))
    return layers


def _named(tokens: Tokens, kept: list[list[int]], length: int) -> list[list[str]]:
    """Return the tokens of each example, without padding.

    Raises:
        ArgumentError: If tokens do not fit the maps.
    """
    if tokens is None:
        return [[str(t) for t in row] for row in kept]
    rows = [tokens] if all(isinstance(token, str) for token in tokens) else tokens
    if isinstance(tokens, str) or any(isinstance(row, str) for row in rows):
        raise ArgumentError(
            "tokens must be a list of strings for one example, or one list for each, "
            f"got {tokens!r:.60}."
        )
    if len(rows) != len(kept):
        raise ArgumentError(
            f"tokens holds {len(rows)} lists for {len(kept)} examples; pass one list "
            "for each."
        )
    named = []
    for b, (row, positions) in enumerate(zip(rows, kept, strict=True)):
        if len(row) not in {length, len(positions)}:
            raise ArgumentError(
                f"tokens has {len(row)} tokens for example {b}, but its maps have "
                f"{length} positions, {len(positions)} without padding; pass one token "
                "for each."
            )
        whole = len(row) == length
        named.append([str(row[t]) for t in positions] if whole else list(map(str, row)))
    return named


def _special(tokens: list[str]) -> list[bool]:
    """Tell special tokens by their look."""
    # Where no mark joins tokens, each is a word of its own.
    return group([tokens], length=len(tokens), mark="").special[0]
