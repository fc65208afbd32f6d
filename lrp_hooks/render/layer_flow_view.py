"""What there is to show of a layer flow: a table of tokens by layers an example."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..support.text import decimals
from .view import Strip, view

if TYPE_CHECKING:
    from ..results.layer_flow import LayerFlow

__all__ = ["ENTERED", "Flow", "Table", "flow_view"]

SUM, ENTERED = "all tokens", "entered above"
OPEN = 1e-3
"""The relative error from which a ledger does not close: more than any rounding."""


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


def flow_view(flow: LayerFlow) -> Flow:
    """Collect plain numbers and strings, none of them escaped yet.

    Args:
        flow: What `layer_flow` returned.

    Returns:
        What there is to show.
    """
    views = [view(flow.at(layer)) for layer in range(len(flow.layers))]
    entered = flow.entered.detach().cpu().tolist()
    tables = []
    for b, example in enumerate(views[0].examples):
        parts = [each.examples[b].parts[0] for each in views]
        strips = [part for part in parts if isinstance(part, Strip)]
        tables.append(Table(example.target, example.output, strips, entered[b]))
    prefix = _common([name for name in flow.layers if "." in name])
    labels = [name.removeprefix(prefix) for name in flow.layers]
    scale = max(each.scale for each in views)
    leaks = bool((flow.relevance.ledger.error > OPEN).any())
    return Flow(flow.layers, prefix, labels, scale, tables, leaks)


def _common(names: Sequence[str]) -> str:
    """Return the modules that all names are inside of, with the dot behind them."""
    head, dot, _ = os.path.commonprefix(list(names)).rpartition(".")
    return head + dot
