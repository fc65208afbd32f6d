"""Embeddings: where relevance starts.

An embedding's output is an input of the linearised twin. While `attribute` runs, only
the tensor that is read carries relevance, and every other embedding is a constant and a
line of the ledger; in calls made by other tools every embedding's output can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import (
    FunctionTable,
    ScopeRule,
    active_scope,
    carries,
    register,
    scale_gradient,
    spellings,
    splice,
    table,
    trainable,
    watch_source,
)

__all__ = ["Embedding"]

FUNCTIONS = spellings("embedding embedding_bag")


class Embedding(ScopeRule):
    """R(E[id]) = <E[id], gradient>; the table itself is a constant."""

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of embedding look-ups.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        return table(FUNCTIONS, _look_up)


def _look_up(
    func: Callable[..., Any], weight: Tensor, *args: Any, **kwargs: Any
) -> Any:
    if any(map(carries, (weight, *args, *kwargs.values()))):
        return _of_signals(func, weight, *args, **kwargs)
    out = func(weight, *args, **kwargs)
    scope = active_scope()
    if scope is None or not isinstance(out, Tensor):
        return out
    ids = args[0] if args else kwargs.get("input")
    name = scope.constants.name_of_rows(ids, weight)
    if not scope.explains and trainable(weight) and torch.is_grad_enabled():
        root = torch.zeros((), requires_grad=True)
        return splice(out, root, lambda grad: None)
    out._lrp_name = name  # type: ignore[attr-defined]
    return out


def _of_signals(
    func: Callable[..., Any], weight: Tensor, ids: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Look up in a table that was computed, or sum by weights that were."""
    weights = [a for a in (*args, *kwargs.values()) if carries(a)]
    out = func(weight, ids, *args, **kwargs)
    if weights and carries(weight):  # each row times its weight
        return (scale_gradient(out[0], 0.5), *out[1:])
    if isinstance(out, Tensor) and args and args[0] is not None and args[0] >= 0:
        # The row of the padding is a constant.
        watch_source(out, torch.where((ids == args[0])[..., None], out.detach(), 0.0))
    return out


register(nn.Embedding, nn.EmbeddingBag, family="embedding")
