"""The classifier of Lopardo et al. 2024: one layer of attention, read at [cls]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import ArgumentError

__all__ = ["CLASS_TOKEN", "UNKNOWN_TOKEN", "AttentionClassifier"]

CLASS_TOKEN = 0
"""The id that every document starts with."""

UNKNOWN_TOKEN = 1
"""The id that pads a document, and that LIME puts in place of a word."""


class AttentionClassifier(nn.Module):
    """Classifies documents into two classes by the attention of their class token.

    With e_t the sum of a word's and its position's embedding, each head gives

        f_h = W_l sum_t softmax_t(<W_q e_0, W_k e_t> / sqrt(d_att)) W_v e_t

    and the logits are the mean over heads: no biases, residuals, normalisation or
    attention mask, so padding is attended to as in the paper. Options leave the scale
    or positions out; closed forms hold either way.
    """

    positions: Tensor

    def __init__(
        self,
        vocab_size: int,
        n_heads: int = 6,
        embed_dim: int = 128,
        attention_dim: int = 64,
        max_length: int = 256,
        *,
        value_dim: int | None = None,
        scale: bool = True,
        positions: bool = True,
    ) -> None:
        """Draw the weights as torch's layers do.

        Args:
            vocab_size: ``V``, with ids 0 for the class token and 1 for the unknown one.
            n_heads: Number of heads. Defaults to ``6``.
            embed_dim: ``D``, the width of embeddings. Defaults to ``128``.
            attention_dim: Width of queries and keys. Defaults to ``64``.
            max_length: ``T``, the length to which documents are padded. Defaults to
                ``256``.
            value_dim: Width of values. Defaults to ``None``: ``attention_dim``.
            scale: Whether scores are divided by the root of ``attention_dim``. Defaults
                to ``True``.
            positions: Whether embeddings of positions are added. Defaults to ``True``.

        Raises:
            ArgumentError: If a size is no whole number, or too small, or an option is
                neither True nor False.
        """
        super().__init__()
        sizes = {
            "vocab_size": (vocab_size, 2),
            "n_heads": (n_heads, 1),
            "embed_dim": (embed_dim, 1),
            "attention_dim": (attention_dim, 1),
            "max_length": (max_length, 1),
            "value_dim": (attention_dim if value_dim is None else value_dim, 1),
        }
        for name, (size, least) in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < least:
                raise ArgumentError(
                    f"{name}={size!r} is no size; it must be a whole number from "
                    f"{least} on."
                )
        for name, chosen in (("scale", scale), ("positions", positions)):
            if not isinstance(chosen, bool):
                raise ArgumentError(f"{name}={chosen!r} must be True or False.")
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        # It follows from the sizes, so state dicts hold trained weights alone.
        places = sinusoids(max_length, embed_dim) * float(positions)
        self.register_buffer(
            "positions", places.to(self.embedding.weight), persistent=False
        )
        width = sizes["value_dim"][0]
        factor = attention_dim**-0.5 if scale else 1.0
        self.heads = nn.ModuleList(
            Head(embed_dim, attention_dim, width, factor) for _ in range(n_heads)
        )

    @property
    def max_length(self) -> int:
        """The length to which documents are padded."""
        return len(self.positions)

    def forward(self, ids: Tensor) -> Tensor:
        """Classify documents.

        Args:
            ids: ``[B, T]``, at most ``max_length`` long.

        Returns:
            Logits ``[B, 2]``.

        Raises:
            ArgumentError: If ``ids`` are no batch of documents of such a length.
        """
        if ids.dim() != 2 or not 0 < ids.shape[1] <= self.max_length:
            raise ArgumentError(
                f"ids have shape {list(ids.shape)}; they must be a batch [B, T] of 1 "
                f"to {self.max_length} ids each. Give one document as ids[None]."
            )
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        return torch.stack([head(x) for head in self.heads]).mean(0)


class Head(nn.Module):
    """One head with its own classifier."""

    def __init__(
        self, embed_dim: int, attention_dim: int, value_dim: int, factor: float
    ) -> None:
        """Draw the weights.

        Args:
            embed_dim: Width of embeddings.
            attention_dim: Width of queries and keys.
            value_dim: Width of values.
            factor: What scores are multiplied by.
        """
        super().__init__()
        self.factor = factor
        self.query = nn.Linear(embed_dim, attention_dim, bias=False)
        self.key = nn.Linear(embed_dim, attention_dim, bias=False)
        self.value = nn.Linear(embed_dim, value_dim, bias=False)
        self.classifier = nn.Linear(value_dim, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Classify by what the class token attends to.

        Args:
            x: Embeddings ``[B, T, D]``.

        Returns:
            This head's logits ``[B, 2]``.
        """
        query = self.query(x[:, 0])[:, None]
        scores = query @ self.key(x).transpose(1, 2) * self.factor
        mixed = scores.softmax(-1) @ self.value(x)
        logits: Tensor = self.classifier(mixed[:, 0])
        return logits


def sinusoids(length: int, width: int) -> Tensor:
    """Compute the embeddings of positions, sine and cosine interleaved, base 10000.

    Args:
        length: ``T``.
        width: ``D``.

    Returns:
        ``[T, D]`` in float64.
    """
    places = torch.arange(length, dtype=torch.float64)[:, None]
    evens = torch.arange(0, width, 2, dtype=torch.float64)
    angles = places / 10000 ** (evens / width)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :width]
