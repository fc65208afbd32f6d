"""A layer flow: a table of tokens by layers for each example."""

from __future__ import annotations

from dataclasses import dataclass

from ..support.text import decimals
from .explanation import Strip

__all__ = ["ENTERED", "Flow", "Table"]

SUM, ENTERED = "all tokens", "entered above"


@dataclass(frozen=True)
class Table:
    """One example of a flow.

    Attributes:
        target: What was explained.
        output: The explained scalar.
        strips: The scores of each layer.
        entered: What constants above each layer gave.
    """

    target: str
    output: float
    strips: list[Strip]
    entered: list[float]

    @property
    def sums(self) -> list[tuple[str, list[float]]]:
        """The rows below the tokens."""
        totals = [sum(strip.scores) for strip in self.strips]
        return [(SUM, totals), (ENTERED, self.entered)]


@dataclass(frozen=True)
class Flow:
    """A flow, ready to be shown.

    Attributes:
        names: The layers.
        prefix: What all names begin with, but for the input's.
        labels: The rest of each name.
        scale: The largest absolute score of a token.
        tables: One for each example.
        leaks: Whether the ledger leaves a part of the output open.
    """

    names: list[str]
    prefix: str
    labels: list[str]
    scale: float
    tables: list[Table]
    leaks: bool

    @property
    def places(self) -> int:
        """How many decimals there is room for in a cell."""
        return decimals(self.scale) - 2
