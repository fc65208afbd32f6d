"""The paper's Transformer in plain torch: attention-only blocks on frozen embeddings.

As in the authors' code: no feed-forward networks, no division of attention's scores by
a root, LayerNorm without gain or offset after each residual, the class token through a
pooler with tanh. Nothing in it knows of relevance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionOnly", "Output", "load", "load_embeddings", "save"]

READ_OUT = "embeddings.LayerNorm"
"""Where the paper reads relevance."""


class Output(NamedTuple):
    """What a call returns.

    Attributes:
        logits: ``[B, C]``.
    """

    logits: Tensor


class AttentionOnly(nn.Module):
    """A classifier of texts."""

    main_input_name = "input_ids"

    def __init__(
        self, embeddings: nn.Module, classes: int, depth: int, heads: int, dropout=0.1
    ) -> None:
        """Build it on embeddings that do not train.

        Args:
            embeddings: Those of a BERT, with its LayerNorm.
            classes: How many there are.
            depth: Number of blocks; the paper's has 3.
            heads: Of attention, in each block.
            dropout: Probability, in training.
        """
        super().__init__()
        self.embeddings = embeddings.requires_grad_(False)
        width = embeddings.word_embeddings.embedding_dim
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes)

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of words."""
        return self.embeddings.word_embeddings  # type: ignore[return-value]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None):
        """Classify texts.

        Args:
            input_ids: ``[B, T]``, the class token first.
            attention_mask: 0 at padding, ``[B, T]``.

        Returns:
            An output with ``logits``.
        """
        seen = None if attention_mask is None else attention_mask.bool()[:, None, None]
        x = self.embeddings(input_ids=input_ids)
        for block in self.blocks:
            x = block(x, seen)
        return Output(self.classifier(torch.tanh(self.pooler(x[:, 0]))))


class Block(nn.Module):
    """Attention beside a residual, then a norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Build it."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12, elementwise_affine=False)
        self.dropout = nn.Dropout(dropout)
        # Scores are not divided by a root, so that weights must be small to begin with.
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Map ``[B, T, D]`` to the same; ``seen`` tells which keys are no padding."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=1.0
        )
        return self.norm(
            x + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        )


def load_embeddings(folder: Path) -> tuple[nn.Module, Any]:
    """Load the embeddings of a BERT, and its tokenizer.

    Args:
        folder: As ``save_pretrained`` wrote it.

    Returns:
        The embeddings in float32 and eval mode, and the tokenizer.
    """
    from lrp_hooks.texts.loading import load_folder

    bert, tokenizer = load_folder(folder)
    return bert.base_model.embeddings, tokenizer


def save(model: AttentionOnly, path: Path, about: dict[str, Any]) -> None:
    """Write what was trained, in half precision, and beside it how.

    Args:
        model: The model.
        path: Of the weights, without its ending.
        about: What to say of the training; what `load` needs is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith("embeddings.")
    }
    save_file(own, path.with_suffix(".safetensors"))
    built = {
        "classes": model.classifier.out_features,
        "depth": len(model.blocks),
        "heads": model.blocks[0].heads,
    }
    text = json.dumps({"built": built, **about}, indent=1) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def load(path: Path, embeddings: nn.Module) -> tuple[AttentionOnly, dict[str, Any]]:
    """Load what `save` wrote.

    Args:
        path: As for `save`.
        embeddings: Those that it was trained on.

    Returns:
        The model in float32 and eval mode, and how it was made.
    """
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    model = AttentionOnly(embeddings, **about["built"])
    state = {
        k: v.float() for k, v in load_file(path.with_suffix(".safetensors")).items()
    }
    model.load_state_dict(
        state
        | {
            f"embeddings.{name}": value
            for name, value in embeddings.state_dict().items()
        }
    )
    return model.eval(), about
