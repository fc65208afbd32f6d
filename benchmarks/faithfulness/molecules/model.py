"""A graph Transformer in plain torch; nothing in it knows of relevance.

After Graphormer (Ying et al. 2021): degrees are added to atoms, distances and the bonds
along shortest paths to the scores of attention, and a virtual node is read out.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from .graphs import MOST_NEIGHBOURS, N_DISTANCES, N_EDGES, N_TOKENS, PAD


class GraphTransformer(nn.Module):
    """Two logits for each molecule."""

    main_input_name = "atoms"

    def __init__(
        self, width: int = 64, depth: int = 4, heads: int = 4, dropout: float = 0.1
    ) -> None:
        """Build it.

        Args:
            width: Of atoms' vectors.
            depth: Number of blocks.
            heads: Of attention, in each block.
            dropout: Probability, in training.
        """
        super().__init__()
        self.atom = nn.Embedding(N_TOKENS, width, padding_idx=PAD)
        self.degree = nn.Embedding(MOST_NEIGHBOURS + 1, width)
        self.distance = nn.Embedding(N_DISTANCES, heads)
        self.edge = nn.Linear(N_EDGES, heads, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)
        for table in (self.atom, self.degree, self.distance):
            nn.init.normal_(table.weight, std=0.1)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of atoms."""
        return self.atom

    def forward(
        self,
        atoms: Tensor,
        degrees: Tensor,
        distances: Tensor,
        edges: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """Classify molecules.

        Args:
            atoms: Token ids ``[B, N]``, the virtual node first.
            degrees: ``[B, N]``.
            distances: ``[B, N, N]``.
            edges: ``[B, N, N, N_EDGES]``.
            attention_mask: 0 at padding, ``[B, N]``.

        Returns:
            Logits ``[B, 2]``.
        """
        bias = (self.distance(distances) + self.edge(edges)).permute(0, 3, 1, 2)
        hidden = attention_mask[:, None, None] == 0
        bias = bias.masked_fill(hidden, -math.inf)
        x = self.dropout(self.atom(atoms) + self.degree(degrees))
        for block in self.blocks:
            x = block(x, bias)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and beside a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Build it."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.activation = nn.GELU()
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map ``[B, N, D]`` to the same."""
        mixed = x + self.dropout(self.attention(self.norm1(x), bias))
        inner = self.activation(self.up(self.norm2(mixed)))
        return mixed + self.dropout(self.down(inner))


class Attention(nn.Module):
    """Multi-head attention with a bias on its scores."""

    def __init__(self, width: int, heads: int) -> None:
        """Build it."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Mix positions.

        Args:
            x: ``[B, N, D]``.
            bias: ``[B, H, N, N]``, -inf where a position is not seen.

        Returns:
            ``[B, N, D]``.
        """
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
