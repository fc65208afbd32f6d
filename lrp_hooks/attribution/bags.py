"""Bags of embeddings, read row by row: what each token adds to their sum.

A bag's output has no place for each token. Its rows have one, and the bag is the same
function of them that it is of its table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.storage import is_distributed

__all__ = ["by_row"]

Read = Callable[[str, Any, Tensor], Tensor | None]
"""Takes a table's name, its arguments and a value; returns what stands in its place."""


def by_row(module: nn.Module, read: Read | None) -> Read | None:
    """Have the rows of a bag read, ``[B, T, D]``, rather than their sum, ``[B, D]``.

    Args:
        module: A table of embeddings, or another module.
        read: How its value is read.

    Returns:
        ``read`` itself where there are no bags. Bags of offsets have no ``[B, T]``, and
        what a subclass or another hook has made of a bag is read as it is.
    """
    plain = getattr(type(module), "forward", None) is nn.EmbeddingBag.forward
    if read is None or not isinstance(module, nn.EmbeddingBag) or not plain:
        return read

    def rows_read(name: str, given: Any, value: Tensor) -> Tensor | None:
        ids, weights = _arguments(*given[0], **given[1])
        if ids.ndim != 2 or is_distributed(module.weight):
            return read(name, given, value)
        rows = F.embedding(ids, module.weight)
        if not torch.equal(_bag(module, ids, rows, weights), value):
            return read(name, given, value)
        fresh = read(name, given, rows)
        return None if fresh is None else _bag(module, ids, fresh, weights)

    return rows_read


def _arguments(
    input: Tensor,  # noqa: A002 (torch's name)
    offsets: Tensor | None = None,
    per_sample_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    return input, per_sample_weights


def _bag(
    module: nn.EmbeddingBag, ids: Tensor, rows: Tensor, weights: Tensor | None
) -> Tensor:
    """Return the bags of rows, which stand in the table's place, ``[B, D]``."""
    padding = torch.zeros_like(ids, dtype=torch.bool)
    if module.padding_idx is not None:
        padding = ids == module.padding_idx
    places = torch.arange(1, 1 + ids.numel(), device=ids.device).reshape(ids.shape)
    nothing = rows.new_zeros(1, rows.shape[-1])
    bags: Tensor = F.embedding_bag(
        places.masked_fill(padding, 0),
        torch.cat([nothing, rows.flatten(0, 1)]),
        mode=module.mode,
        per_sample_weights=weights,
        padding_idx=0,
    )
    return bags
