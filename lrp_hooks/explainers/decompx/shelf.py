"""Keeps the vectors of the stages asked for, or their norms, padded to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .decomposition import Keep

__all__ = ["STAGES", "Shelf"]

LAYER_STAGES = ("attention", "res1", "ln1", "ffn", "res2", "encoder")
STAGES = (*LAYER_STAGES, "aggregated", "pooler")
"""Six in each layer, then the last layer's vectors and those before the classifier."""


class Shelf:
    """Vectors by stage.

    Attributes:
        tables: ``{stage: Tensor}`` of norms: [L, B, T, K] for the stages of layers,
            [B, T, K] for ``"aggregated"``, [B, K] for ``"pooler"``; of vectors with a
            further dimension D. Zero at padding.
    """

    def __init__(
        self, stages: Sequence[str], whole: bool, shape: tuple[int, int, int, int]
    ) -> None:
        """Start with nothing.

        Args:
            stages: Which ones to keep.
            whole: Keep vectors rather than norms.
            shape: L, B, T and K.
        """
        self.stages = stages
        self.whole = whole
        n_layers, batch, length, sources = shape
        layers: tuple[int, ...] = (n_layers, batch, length, sources)
        self._sizes = dict.fromkeys(LAYER_STAGES, layers)
        self._sizes |= {"aggregated": layers[1:], "pooler": (batch, sources)}
        self.tables: dict[str, Tensor] = {}

    def keeper(self, row: int, tokens: Tensor, sources: Tensor) -> Keep | None:
        """Return what keeps the layers of one example.

        Args:
            row: Which example.
            tokens: The positions of its tokens, [n].
            sources: The columns of its sources, [K].

        Returns:
            See `decompose`; None if all that is asked for comes after the layers.
        """
        if set(self.stages) <= {"pooler"}:
            return None
        return partial(self._keep, row, tokens, sources)

    def put(self, stage: str, vectors: Tensor, place: tuple[int | Tensor, ...]) -> None:
        """Keep vectors if their stage was asked for.

        Args:
            stage: One of `STAGES`.
            vectors: [..., D].
            place: Where they belong in the stage's table.
        """
        if stage not in self.stages:
            return
        width = vectors.shape[-1:] if self.whole else ()
        if stage not in self.tables:
            self.tables[stage] = vectors.new_zeros(*self._sizes[stage], *width)
        norm = torch.linalg.vector_norm
        self.tables[stage][place] = vectors if self.whole else norm(vectors, dim=-1)

    def _keep(
        self,
        row: int,
        tokens: Tensor,
        sources: Tensor,
        layer: int,
        stage: str,
        rows: slice,
        vectors: Tensor,
    ) -> None:
        self.put(stage, vectors, (layer, row, tokens[rows, None], sources))
