"""Collects the relevance of constants while a backward pass runs.

A source is a constant that is added to something that carries relevance: its relevance
is the inner product <constant, gradient>, taken for each example and, where the layout
has them, for each position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UnsupportedModelError
from .autograd import carries, on_gradient
from .kept import Kept
from .shares import Share, share_of, whole

__all__ = ["Gate", "SourceCollector", "of_all_ranks"]

Constant = Tensor | complex | Callable[[], Tensor]


class Gate(NamedTuple):
    """A function that has a value but hands on no relevance of its own.

    Attributes:
        name: The function's name.
        out: What it returned.
        x: What it was given, in the same shape.
        versions: How often each had been overwritten by then.
    """

    name: str
    out: Tensor
    x: Tensor
    versions: tuple[int, int]

    def behind(self, value: Tensor) -> Tensor | None:
        """Return the part of ``x`` that a view of ``out`` was made of.

        Args:
            value: Any tensor.

        Returns:
            The same view of ``x``; None if ``value`` is no view of ``out``.
        """
        out, x = self.out, self.x
        base = out.untyped_storage().data_ptr()
        alike = value.dtype == out.dtype and value.untyped_storage().data_ptr() == base
        if not alike or (out._version, x._version) != self.versions:
            return None
        if out.stride() != x.stride():
            if not out.is_contiguous():
                return None
            x = x.contiguous()
        offset = x.storage_offset() + value.storage_offset() - out.storage_offset()
        return x.as_strided(value.shape, value.stride(), offset)


class SourceCollector:
    """The ledger's entries of one forward and one backward pass.

    Terms are only noted while the backward pass runs; `settle` sorts them.

    Attributes:
        sources: ``{name: [B]}``.
        positions: ``{name: [B, T]}`` for sources added at token positions.
        unplaced: Names of sources whose layout does not show which row belongs to which
            example.
        ambiguous: Whether a layout could be read in two ways.
        row: The one example that the backward pass is for, if it is for one.
        unruled: ``(function, module name, graph nodes)`` of calls that have no rule;
            they matter if what is explained depends on them.
        gate: The last gate of the forward pass.
        spans: The numbers of the graph's nodes that scopes of other threads made.
        spread: Whether the model's parameters are spread over ranks.
    """

    def __init__(self, batch: int, length: int | None) -> None:
        """Start with no entries.

        Args:
            batch: B, the number of examples.
            length: T, the number of token positions, where there are any.
        """
        self.batch = batch
        self.length = length
        self._noted: list[tuple[str, Tensor, Share | None]] = []
        self.sources: dict[str, Tensor] = {}
        self.positions: dict[str, Tensor] = {}
        self.unplaced: set[str] = set()
        self.ambiguous = False
        self._turned = False
        self.row: int | None = None
        self.unruled: list[tuple[Callable[..., Any] | str, str, tuple[Any, ...]]] = []
        self.gate: Gate | None = None
        self.spans: list[tuple[int, int]] = []
        self.spread = False

    def clear(self) -> None:
        """Forget what a backward pass brought; what the forward recorded stays."""
        self._noted.clear()
        self.sources, self.positions, self.unplaced = {}, {}, set()
        self.ambiguous, self.row = False, None

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

        shape, share = out.shape, self.share_of(out)
        if share is not None:
            share = share.of_terms(out, max(1, out.ndim - 1))
        kept = constant if callable(constant) else Kept(constant)

        def hook(grad: Tensor) -> None:
            value = kept.values if isinstance(kept, Kept) else kept()
            _check_held(value, name)
            self._noted.append((name, _inner(grad.view(shape), value), share))

        on_gradient(_whole(out), hook)

    def share_of(self, tensor: Tensor) -> Share | None:
        """Find out whether terms made of a tensor's gradient are one rank's alone.

        Args:
            tensor: A tensor that carries relevance.

        Returns:
            How the tensor is placed; None where all ranks have the same.
        """
        return share_of(tensor) if self.spread else None

    def add(self, name: str, terms: Tensor, share: Share | None = None) -> None:
        """Note relevance terms of a source.

        Args:
            name: The source's qualified name.
            terms: Any shape; see `_rows` for the layouts that are understood.
            share: How they are one rank's share of the terms.
        """
        self._noted.append((name, terms.detach(), share))

    def settle(self, turned: bool = False) -> None:
        """Sort the terms by source, example and position, in float64.

        Args:
            turned: Read what could be [B, T] or [T, B] as the latter.
        """
        self.sources, self.positions, self.unplaced = {}, {}, set()
        self._turned = turned
        by_shape: dict[tuple[Any, ...], list[tuple[str, Tensor]]] = {}
        found = list(map(of_all_ranks, self._noted))  # once, since ranks meet here
        self._noted = [(name, terms, None) for name, terms in found]
        for name, terms in found:
            key = (terms.shape, terms.dtype, terms.device)
            by_shape.setdefault(key, []).append((name, terms))
        for group in by_shape.values():
            names = [name for name, _ in group]
            self._enter(names, torch.stack([terms for _, terms in group]).double())

    def _enter(self, names: list[str], terms: Tensor) -> None:
        readings = self._readings(terms)
        if not readings:
            self.unplaced.update(names)
            total = terms.flatten(1).sum(1, keepdim=True) / self.batch
            readings = [total.expand(-1, self.batch)]
        rows = self._choose(readings)
        if rows.ndim == 3:
            for name, part in zip(names, rows.unbind(), strict=True):
                _accumulate(self.positions, name, part)
            rows = rows.sum(2)
        for name, part in zip(names, rows.unbind(), strict=True):
            _accumulate(self.sources, name, part)

    def _choose(self, readings: list[Tensor]) -> Tensor:
        """Take the first reading, or the one in which all is the one example's."""
        if self.row is None or len(readings) == 1:
            return readings[-1 if self._turned else 0]
        own = [reading[:, self.row].abs().flatten(1).sum(1) for reading in readings]
        best = torch.stack(own).argmax(0).tolist()
        return torch.stack([readings[k][i] for i, k in enumerate(best)])

    def _readings(self, terms: Tensor) -> list[Tensor]:
        """Read the terms [N, ...] of N sources as [N, B, T], or else as [N, B]."""
        # There may be two ways to read them, or none.
        batch, length, n = self.batch, self.length, len(terms)
        shape = tuple(terms.shape[1:])
        found = []
        if length is not None:
            flat = shape[:1] == (batch * length,)
            if flat or shape[:2] == (batch, length):
                found.append(terms.reshape(n, batch, length, -1).sum(-1))
            if flat or shape[:2] == (length, batch):
                turned = terms.reshape(n, length, batch, -1).sum(-1)
                found.append(turned.transpose(1, 2))
        self.ambiguous |= batch > 1 < len(found)
        if not found and shape[:1] == (batch,):
            found.append(terms.reshape(n, batch, -1).sum(-1))
        if not found and batch == 1:
            found.append(terms.reshape(n, 1, -1).sum(-1))
        return found


def of_all_ranks(noted: tuple[str, Tensor, Share | None]) -> tuple[str, Tensor]:
    """Return a source's name and its terms, summed or put together over ranks.

    Args:
        noted: Its name, this rank's terms, and how they are a share.

    Returns:
        The name and all terms.
    """
    name, terms, share = noted
    return name, whole(terms) if share is None else share.whole(terms)


def _whole(out: Tensor) -> Tensor:
    """Return the tensor that keeps its hooks when ``out`` is overwritten in place."""
    # F.linear returns a view of a product; writing to a view gives it a new history.
    base = out._base if out._is_view() else None
    if base is None or base.numel() != out.numel():
        return out
    return base if base.is_contiguous() and out.is_contiguous() else out


def _check_held(value: Any, name: str) -> None:
    if (
        isinstance(value, Tensor)
        and value.untyped_storage().nbytes() == 0 < value.numel()
    ):
        raise UnsupportedModelError(
            f"the memory of {name!r} was freed between the forward and the backward "
            "pass, so that its share of the output is not known. Keep it until then, "
            "as fully_shard(..., reshard_after_forward=False) does."
        )


def _accumulate(table: dict[str, Tensor], name: str, rows: Tensor) -> None:
    table[name] = table[name] + rows if name in table else rows


def _inner(grad: Tensor, constant: Tensor | complex) -> Tensor:
    """Multiply, summing over the last dimension; what is infinite meets gradient 0."""
    if grad.dtype in _HALF:
        grad = grad.float()
    if isinstance(constant, Tensor):
        if constant.dtype != grad.dtype:
            constant = constant.to(grad.dtype)
        if constant.ndim == 1 < grad.ndim and constant.shape[0] == grad.shape[-1]:
            # With infinity in it, the product of a gradient 0 would be NaN.
            if not grad.is_complex():
                return grad @ constant.nan_to_num(math.nan, 0.0, 0.0)
            return (grad.conj() @ torch.where(constant.isinf(), 0.0, constant)).real
    terms = torch.where(grad == 0, 0.0, grad.conj() * constant).real
    return terms.sum(-1) if grad.ndim > 1 else terms


_HALF = {torch.float16, torch.bfloat16}
