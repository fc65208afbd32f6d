"""Relevance layer by layer: which positions hold the output at each cut of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..attribution.blocks import BLOCKS
from ..errors import ArgumentError
from .explanation import Explanation
from .relevance import Relevance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["INPUT", "LayerFlow", "layer_flow"]

INPUT = "input"
"""The name of what relevance was read at, below all layers."""


@dataclass(frozen=True, eq=False, repr=False)
class LayerFlow:
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

    def to_html(self) -> str:
        """Render a self-contained page: a heat map of tokens by layers.

        Returns:
            An HTML document; special characters of tokens and labels are escaped.
        """
        from ..render import layer_flow

        return layer_flow.page(self)

    def _repr_html_(self) -> str:  # noqa: PLW3201 (the name that notebooks look for)
        """Return a fragment for a notebook."""
        from ..render import layer_flow

        return layer_flow.fragment(self)

    def to_terminal(self, colour: bool | None = None, width: int | None = None) -> str:
        """Render for a terminal.

        Args:
            colour: True for a coloured heat map, false for numbers alone. Defaults to
                ``None``: coloured on a terminal.
            width: Columns. Defaults to the terminal's own; layers that do not fit
                beside each other stand below each other.

        Returns:
            Lines of text, without a newline at the end.
        """
        from ..render import layer_flow

        return layer_flow.terminal(self, colour=colour, width=width)

    def plot(self) -> Figure:
        """Draw a heat map of tokens by layers for each example.

        Returns:
            A matplotlib figure, registered with no window.
        """
        from ..render import layer_flow

        return layer_flow.figure(self)

    def __repr__(self) -> str:
        """Return the layers, the shape and the targets."""
        return (
            f"LayerFlow(layers={self.layers}, scores={list(self.scores.shape)}, "
            f"targets={self.relevance.targets})"
        )


def layer_flow(relevance: Relevance) -> LayerFlow:
    """Follow relevance through the layers of a model.

    Args:
        relevance: What `Instrumentation.attribute` returned, asked for with
            ``layers="blocks"``, or with names of modules that return ``[B, T, D]``.

    Returns:
        The relevance of each position at each layer, in the order in which they ran;
        where both were asked for, named modules stand before blocks. It starts with
        ``"input"`` where relevance was read at the same T positions (for an image's
        pixels it was not). Layers of another shape, such as heads, are left out.

    Raises:
        ArgumentError: If the relevance holds no such layers, or the layers differ in T.
    """
    layers = relevance.layers if isinstance(relevance, Relevance) else {}
    found = {
        name: value.to("cpu", torch.float64).sum(-1)
        for name, value in layers.items()
        if value.ndim == 3 and len(value) == len(relevance.output)
    }
    if not found:
        had = f"layers {', '.join(map(repr, layers))}" if layers else "no layers"
        raise ArgumentError(
            "relevance must hold layers [B, T, D], got "
            f"{type(relevance).__name__} with {had}; ask for them: "
            f"layer_flow(lrp.attribute(inputs, layers={BLOCKS!r})), or explain() with "
            "that option."
        )
    cuts = _alike(_read(relevance), found)
    output = relevance.output.detach()
    scores = torch.stack(list(cuts.values()), 1)
    entered = output.to("cpu", torch.float64)[:, None] - scores.sum(2)
    return LayerFlow(list(cuts), scores.to(output), entered.to(output), relevance)


def _read(relevance: Relevance) -> Tensor | None:
    """Return the scores [B, T] below all layers; of several reads, their sum."""
    scores = relevance.scores
    reads = [scores] if isinstance(scores, Tensor) else list(scores.values())
    if any(read.ndim != 2 or read.shape != reads[0].shape for read in reads):
        return None
    return torch.stack([read.to("cpu", torch.float64) for read in reads]).sum(0)


def _alike(read: Tensor | None, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the cuts that have the same positions: those that were read, if any has.

    Raises:
        ArgumentError: If others remain, and differ from each other.
    """
    if read is not None:
        own = {name: s for name, s in found.items() if s.shape == read.shape}
        if own:
            return {INPUT: read, **own}
    lengths = {name: scores.shape[1] for name, scores in found.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise ArgumentError(
            f"relevance holds layers of different numbers of positions: {listed}; ask "
            "with layers= for modules that have the same."
        )
    return found
