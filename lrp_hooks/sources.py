"""Collects the relevance of constants while a backward pass runs.

A source is a constant that is added to something that carries relevance: its relevance
is the inner product <constant, gradient>, taken for each example and, where the layout
has them, for each position.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .autograd import carries

__all__ = ["SourceCollector"]

Constant = Tensor | float | Callable[[], Tensor]


class SourceCollector:
    """The ledger's entries of one forward and one backward pass.

    Attributes:
        sources: ``{name: [B]}``.
        positions: ``{name: [B, T]}`` for sources added at token positions.
        unplaced: Names of sources whose layout does not show which row belongs to which
            example; their sum stands in every row's place only for ``B = 1``.
    """

    def __init__(self, batch: int, length: int | None) -> None:
        """Start with no entries.

        Args:
            batch: B, the number of examples.
            length: T, the number of token positions, where there are any.
        """
        self.batch = batch
        self.length = length
        self.sources: dict[str, Tensor] = {}
        self.positions: dict[str, Tensor] = {}
        self.unplaced: set[str] = set()

    def clear(self) -> None:
        """Forget what a backward pass brought; what the forward recorded stays."""
        self.sources, self.positions, self.unplaced = {}, {}, set()

    def watch(self, out: Tensor, constant: Constant, name: str) -> None:
        """Record <constant, gradient of out> when the backward pass comes by.

        Args:
            out: A tensor that carries relevance and to which the constant was added.
            constant: A number, a tensor that broadcasts to ``out``, or a function that
                computes one (called in the backward pass).
            name: The source's qualified name.
        """
        if not carries(out):
            return

        def hook(grad: Tensor) -> None:
            value = constant() if callable(constant) else constant
            self.add(name, _inner(grad.detach(), value))

        out.register_hook(hook)

    def add(self, name: str, terms: Tensor) -> None:
        """Add relevance terms to a source.

        Args:
            name: The source's qualified name.
            terms: Any shape; see `_rows` for the layouts that are understood.
        """
        terms = terms.detach().double()
        rows = self._rows(terms)
        if rows is None:
            self.unplaced.add(name)
            rows = terms.sum().expand(self.batch) / self.batch
        elif rows.ndim == 2:
            _accumulate(self.positions, name, rows)
            rows = rows.sum(1)
        _accumulate(self.sources, name, rows)

    def _rows(self, terms: Tensor) -> Tensor | None:
        """Return terms as [B, T] or [B], or None where the layout does not say."""
        batch, length = self.batch, self.length
        shape = tuple(terms.shape)
        if shape[:2] == (batch, length):
            return terms.reshape(batch, length, -1).sum(-1)
        if length is not None and shape[:1] == (batch * length,):
            return terms.reshape(batch, length, -1).sum(-1)
        if length is not None and shape[:2] == (length, batch):
            return terms.transpose(0, 1).reshape(batch, length, -1).sum(-1)
        if shape[:1] == (batch,):
            return terms.reshape(batch, -1).sum(-1)
        if batch == 1:
            return terms.sum().reshape(1)
        return None


def _accumulate(table: dict[str, Tensor], name: str, rows: Tensor) -> None:
    table[name] = table[name] + rows if name in table else rows


def _inner(grad: Tensor, constant: Tensor | float) -> Tensor:
    """Multiply, summing over the last dimension; an infinite mask meets gradient 0."""
    if grad.dtype in {torch.float16, torch.bfloat16}:
        grad = grad.float()
    if isinstance(constant, Tensor):
        constant = constant.detach().to(grad.dtype)
        if grad.ndim > 1 and constant.ndim == 1 and len(constant) == grad.shape[-1]:
            return grad @ constant
    terms = torch.where(grad == 0, 0.0, grad * constant)
    return terms.sum(-1) if grad.ndim > 1 else terms
