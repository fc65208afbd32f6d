"""A graph Transformer of superpixels in plain torch; it knows nothing of relevance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ....faithfulness.molecules.model import Block

__all__ = ["GraphTransformer"]

CLASSES = 10
WAVES = 4  # of a place, along each axis


class GraphTransformer(nn.Module):
    """Ten logits for each picture.

    A superpixel is its brightness, and where it lies; attention's scores have a term
    for pairs that touch, which each block learns for each head.
    """

    main_input_name = "features"

    def __init__(
        self, width: int = 48, depth: int = 3, heads: int = 4, dropout: float = 0.0
    ) -> None:
        """Build it.

        Args:
            width: Of superpixels' vectors.
            depth: Number of blocks.
            heads: Of attention, in each block.
            dropout: Probability, in training.
        """
        super().__init__()
        self.seen = nn.Linear(4 * WAVES, width)
        self.place = nn.Linear(4 * WAVES, width)
        self.embedded = nn.Identity()
        self.touch = nn.Parameter(torch.zeros(depth, heads))
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(
        self,
        features: Tensor,
        places: Tensor,
        adjacent: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Classify pictures.

        Args:
            features: Brightness ``[B, N]``.
            places: ``[B, N, 2]``.
            adjacent: ``[B, N, N]``.
            attention_mask: 0 at padding, ``[B, N]``.

        Returns:
            Logits ``[B, 10]``.
        """
        shown = torch.ones_like(features) if attention_mask is None else attention_mask
        hidden = (shown == 0)[:, None, None]
        waves = torch.pi * places[..., None] * torch.arange(1, WAVES + 1)
        where = torch.cat([waves.sin(), waves.cos()], -1).flatten(2)
        x = self.embedded(features[..., None] * self.seen(where) + self.place(where))
        for block, touch in zip(self.blocks, self.touch, strict=True):
            bias = adjacent[:, None] * touch[:, None, None]
            x = block(x, bias.masked_fill(hidden, -math.inf))
        weights = shown / shown.sum(1, keepdim=True)
        logits: Tensor = self.head(self.norm((x * weights[..., None]).sum(1)))
        return logits
