"""Rarer functions: what each is in terms of others.

lerp(a, b, w)      a + w (b - a)              hypot(a, b)      |(a, b)|
addcdiv            a + v b / c                logaddexp(a, b)  logsumexp((a, b))
logcumsumexp(x)_j  logsumexp(x_1 ... x_j)     xlogy(x, y)      x log(y)
polar(r, phi)      r (cos phi + i sin phi)    clamp(x, l, h)   min(max(x, l), h)
dist(a, b)         |a - b|, cdist and pdist of every pair
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import FunctionTable, carries, report, spellings, table
from .definition import defined

__all__ = ["CLAMPS", "COMPOSITES", "clamped"]


def _lerp(a: Tensor, end: Tensor, weight: Any) -> Any:
    return a + weight * (end - a)


def _addcdiv(a: Tensor, b: Tensor, c: Tensor, *, value: complex = 1) -> Any:
    return a + value * (b / c)


def _hypot(a: Tensor, b: Tensor) -> Any:
    return torch.linalg.vector_norm(_stacked(a, b), dim=0)


def _logaddexp(a: Tensor, b: Tensor) -> Any:
    return torch.logsumexp(_stacked(a, b), 0)


def _logaddexp2(a: Tensor, b: Tensor) -> Any:
    return torch.logsumexp(_stacked(a, b) * math.log(2), 0) / math.log(2)


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    return torch.stack([a.expand(shape), b.expand(shape)])


def _logcumsumexp(x: Tensor, dim: int) -> Any:
    if x.ndim == 0:
        return torch.logsumexp(x, 0)
    rows = x.movedim(dim, -1).unsqueeze(-2)
    n = rows.shape[-1]
    seen = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
    hidden = torch.full_like(rows, -math.inf)
    return torch.logsumexp(torch.where(seen, rows, hidden), -1).movedim(-1, dim)


def _xlogy(x: Any, y: Any) -> Any:
    x, y = _tensors(x, y)
    return x * torch.log(torch.where(x == 0, 1, y))


def _xlog1py(x: Any, y: Any) -> Any:
    x, y = _tensors(x, y)
    return x * torch.log1p(torch.where(x == 0, 0, y))


def _tensors(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a = a if isinstance(a, Tensor) else torch.full_like(b, a)
    return a, b if isinstance(b, Tensor) else torch.full_like(a, b)


def _polar(r: Tensor, phi: Tensor) -> Any:
    return r * torch.polar(torch.ones_like(r), phi.detach())


def _ldexp(x: Tensor, exponent: Tensor) -> Any:
    return x * torch.pow(2.0, exponent)


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    x = x if min is None else torch.maximum(x, _like(x, min))
    return x if max is None else torch.minimum(x, _like(x, max))


def _like(x: Tensor, bound: Any) -> Tensor:
    return bound if isinstance(bound, Tensor) else torch.full_like(x, bound)


def _dist(a: Tensor, b: Tensor, p: float = 2.0) -> Any:
    return torch.linalg.vector_norm(a - b, p)


def _cdist(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: Any = None) -> Any:
    apart = a.unsqueeze(-2) - b.unsqueeze(-3)
    return torch.linalg.vector_norm(apart, p, dim=-1)


def _pdist(x: Tensor, p: float = 2.0) -> Any:
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return torch.linalg.vector_norm(x[i] - x[j], p, dim=-1)


CLAMPS = spellings("clamp clip clamp_min clamp_max")


def clamped(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Clamp by bounds that carry relevance: the smallest or largest takes it all.

    Args:
        func: ``clamp``, ``clamp_min`` or ``clamp_max``.
        x: What is clamped.
        *args: The bounds.
        **kwargs: The bounds by name.

    Returns:
        Its result.
    """
    upper = "max" in func.__name__
    definition = (lambda x, max: _clamp(x, max=max)) if upper else _clamp
    result = defined(definition)(func, x, *args, **kwargs)
    return result


def _if_real(replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Leave complex numbers, of which a logarithm has many, to a report."""

    def checked(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not x.is_complex():
            return replacement(func, x, *args, **kwargs)
        out = func(x, *args, **kwargs)
        if carries(out):
            report(func, out)
        return out

    return checked


def _composites() -> FunctionTable:
    definitions: dict[str, Callable[..., Any]] = {
        "lerp": _lerp,
        "addcdiv": _addcdiv,
        "hypot": _hypot,
        "logaddexp": _logaddexp,
        "logaddexp2": _logaddexp2,
        "logcumsumexp": _logcumsumexp,
        "xlogy special_xlogy": _xlogy,
        "xlog1py special_xlog1py": _xlog1py,
        "polar": _polar,
        "ldexp": _ldexp,
        "dist": _dist,
        "cdist": _cdist,
        "pdist": _pdist,
    }
    found: dict[Any, Any] = {}
    for names, definition in definitions.items():
        found |= table(spellings(names), defined(definition))
    for names in ("logaddexp", "logcumsumexp"):
        found |= table(spellings(names), _if_real(found[getattr(torch, names)]))
    return found


COMPOSITES = _composites()
"""Replacements where relevance is shared; the plain gradient needs none of them."""
