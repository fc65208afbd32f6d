"""Reductions over indices: products and maxima of what ends in one place.

What an element takes is its share of the product, or all of a maximum that it wins;
what constants win is a source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import (
    FunctionTable,
    carries,
    report,
    spellings,
    splice,
    table,
    watch_source,
)
from .affine import affine
from .definition import any_carries

__all__ = ["REDUCTIONS"]


def _scatter_reduce(
    func: Callable[..., Any],
    base: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Any:
    given = (base, dim, index, src, reduce)
    if not any_carries(given):
        return func(*given, include_self=include_self)
    if reduce in {"sum", "mean"}:
        return affine(func, *given, include_self=include_self)
    out = func(*given, include_self=include_self)
    zeros = torch.zeros_like(out.detach())

    def count(base_counts: Tensor, src_counts: Tensor) -> Tensor:
        """Add up numbers where their elements end."""
        own = base_counts.to(zeros.dtype).expand(zeros.shape)
        if not include_self:
            own = own.scatter(dim, index, 0.0)
        part = src_counts.to(zeros.dtype)
        return own.scatter_add(dim, index, part[tuple(map(slice, index.shape))])

    if reduce == "prod":
        live = count(zeros + carries(base), torch.full_like(src, float(carries(src))))
        watch_source(out, torch.where(live == 0, out.detach(), 0.0), func.__name__)
        return splice(out.clone(), out, lambda grad: grad / live.clamp(min=1))

    def kept() -> Tensor:
        """Return what constants win of the maxima."""
        value = out.detach()
        top = value.gather(dim, index)
        wins = torch.zeros_like(src.detach())
        wins[tuple(map(slice, index.shape))] = (
            src.detach()[tuple(map(slice, index.shape))] == top
        ).to(wins.dtype)
        own = (base.detach() == value).to(zeros.dtype)
        lost = count(
            zeros if carries(base) else own,
            torch.zeros_like(wins) if carries(src) else wins,
        )
        share: Tensor = value * lost / count(own, wins)
        return share

    watch_source(out, kept, func.__name__)
    return out


def _segment_reduce(
    func: Callable[..., Any], x: Tensor, reduce: str, **kwargs: Any
) -> Any:
    out = func(x, reduce, **kwargs)
    lengths, offsets = kwargs.get("lengths"), kwargs.get("offsets")
    if lengths is None and offsets is not None:
        lengths = offsets.diff(dim=-1)
    if not carries(out):
        return out
    if reduce != "prod" or lengths is None:
        if kwargs.get("initial") is not None or lengths is None:
            report(func, out)
        return out
    n = lengths.reshape(*lengths.shape, *(1,) * (out.ndim - lengths.ndim))
    watch_source(out, torch.where(n == 0, out.detach(), 0.0), func.__name__)
    return splice(out.clone(), out, lambda grad: grad / n.clamp(min=1))


REDUCTIONS: FunctionTable = {
    **table(spellings("scatter_reduce"), _scatter_reduce),
    **table(spellings("segment_reduce"), _segment_reduce),
}
"""Replacements where relevance is shared; the plain gradient needs none of them."""
