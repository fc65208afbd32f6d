"""Relevance layer by layer: which positions hold the output at each cut of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..results.layer_flow import LayerFlow
from ..results.relevance import Relevance
from .blocks import BLOCKS

__all__ = ["INPUT", "layer_flow"]

INPUT = "input"
"""The name of what relevance was read at, below all layers."""


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
