"""Relevance layer by layer: which positions hold the output at each cut of a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import ArgumentError
from ..views.explanation import Strip
from ..views.layer_flow import Flow, Table
from .explanation import Explanation
from .explanation_view import view
from .relevance import Relevance
from .shown import Drawn, Page, Printed

__all__ = ["LayerFlow"]

OPEN = 1e-3
"""The relative error from which a ledger does not close: more than any rounding."""


@dataclass(frozen=True, eq=False, repr=False)
class LayerFlow(Page, Printed, Drawn):
    """The relevance of each position at each cut of a model, from the input on.

    ``scores.sum(2) + entered == output`` at every layer. Where layers are cuts of the
    model, such as the residual stream after each block, and the rules conserve
    relevance, ``entered`` is what constants above the cut gave to the output: biases,
    position embeddings, the classifier's. Under other rules it holds their leak, too.

    Args:
        layers: The names of the cuts, the first ``"input"``.
        scores: Relevance summed over the width of each layer, ``[B, L+1, T]``.
        entered: What the positions do not hold, ``[B, L+1]``.
        relevance: Where tokens, targets and outputs come from.
    """

    layers: list[str]
    scores: Tensor
    entered: Tensor
    relevance: Relevance

    def words(self) -> LayerFlow:
        """Merge sub-word tokens to whole words, as `Explanation.words` does.

        Returns:
            A new flow, ``scores`` of which are ``[B, L+1, W]``.

        Raises:
            ArgumentError: If the tokens are unknown, or are not those of the layers.
        """
        read, by_position = self.relevance.scores, self.scores.transpose(1, 2)
        if isinstance(read, Tensor) and read.shape != by_position.shape[:2]:
            raise ArgumentError(
                f"words() merges the tokens of scores {list(read.shape)}, but layers "
                f"have {by_position.shape[1]} positions; with wrt=, read relevance "
                "where the layers' positions begin."
            )
        # Words fold what lies at positions, [B, T, ...]; here that is the layers.
        merged = replace(self.relevance, values=by_position).words().values
        assert isinstance(merged, Tensor)
        return replace(
            self, scores=merged.transpose(1, 2), relevance=self.relevance.words()
        )

    def at(self, layer: int) -> Explanation:
        """Return the scores of one layer as an explanation of its own.

        Args:
            layer: Its number in ``layers``.

        Returns:
            The explanation, with tokens where those are the layers' positions.
        """
        source, scores = self.relevance, self.scores[:, layer]
        fits = isinstance(source.scores, dict) or source.scores.shape == scores.shape
        return Explanation(
            scores=scores,
            output=source.output,
            target=source.target,
            method=source.method,
            tokens=source.tokens if fits else None,
            attended=source.attended if fits else None,
            meta=source.meta if fits else {**source.meta, "special": None},
        )

    def view(self) -> Flow:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings.
        """
        views = [view(self.at(layer)) for layer in range(len(self.layers))]
        entered = self.entered.detach().cpu().tolist()
        tables = []
        for b, example in enumerate(views[0].examples):
            parts = [each.examples[b].parts[0] for each in views]
            strips = [part for part in parts if isinstance(part, Strip)]
            tables.append(Table(example.target, example.output, strips, entered[b]))
        prefix = _common([name for name in self.layers if "." in name])
        labels = [name.removeprefix(prefix) for name in self.layers]
        scale = max(each.scale for each in views)
        leaks = bool((self.relevance.ledger.error > OPEN).any())
        return Flow(self.layers, prefix, labels, scale, tables, leaks)

    def __repr__(self) -> str:
        """Return the layers, the shape and the targets."""
        return (
            f"LayerFlow(layers={self.layers}, scores={list(self.scores.shape)}, "
            f"targets={self.relevance.targets})"
        )


def _common(names: Sequence[str]) -> str:
    """Return the modules that all names are inside of, with the dot behind them."""
    head, dot, _ = os.path.commonprefix(list(names)).rpartition(".")
    return head + dot
