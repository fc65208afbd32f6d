"""Rarer functions: what each is in terms of others, or which arguments are its gate.

    lerp(a, b, w)      a + w (b - a)              hypot(a, b)      |(a, b)|
    addcdiv            a + v b / c                logaddexp(a, b)  logsumexp((a, b))
    logcumsumexp(x)_j  logsumexp(x_1 ... x_j)     xlogy(x, y)      x log(y)
    polar(r, phi)      r (cos phi + i sin phi)    clamp(x, l, h)   min(max(x, l), h)
    dist(a, b)         |a - b|, cdist and pdist of every pair

A sampling grid, an angle, a divisor that is rounded, the number of what is not zero
(p = 0) are gates: relevance goes to what they act on. What an element of a reduction
takes is its share of the product, or all of a maximum that it wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import (
    FunctionTable,
    carries,
    freeze,
    pass_through,
    report,
    spellings,
    splice,
    split,
    table,
    watch_source,
)
from .definition import any_carries, defined
from .structure import affine

__all__ = ["CLAMPS", "COMPOSITES", "GATED", "REDUCTIONS", "clamped", "rounded"]


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


def _rest_frozen(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Freeze every argument but the first one."""
    rest = [freeze(a) if carries(a) else a for a in args]
    named = {k: freeze(a) if carries(a) else a for k, a in kwargs.items()}
    return func(x, *rest, **named)


def _frozen(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return func(*(freeze(a) if carries(a) else a for a in args), **kwargs)


def _stepped(func: Callable[..., Any], x: Any, other: Any, **kwargs: Any) -> Any:
    """A function of x that is 0 at 0 and has a constant beside it."""
    other = freeze(other) if carries(other) else other
    with torch.no_grad():
        y = func(x, other, **kwargs)
    if not carries(x):
        return y
    return pass_through(lambda t: func(t, other, **kwargs), x.expand(y.shape), y)


def rounded(func: Callable[..., Any], x: Any, other: Any, **kwargs: Any) -> Any:
    """Divide and round: a step function of what is divided.

    Args:
        func: ``div`` with a rounding mode.
        x: The dividend.
        other: The divisor, frozen.
        **kwargs: Its keyword arguments.

    Returns:
        The quotient.
    """
    return _stepped(func, x, other, **kwargs)


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


def _norm(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A length is homogeneous; the number of what is not zero (p = 0) is a gate."""
    order = args[0] if args else kwargs.get("ord", kwargs.get("p"))
    is_count = isinstance(order, int | float) and order == 0
    return func(freeze(x) if is_count else x, *args, **kwargs)


def _var_mean(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    _, mean = func(x, *args, **kwargs)
    var, _ = func(split(x, 2), *args, **kwargs)
    return var, mean


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


def _tables() -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
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
    composites: dict[Any, Any] = {}
    for names, definition in definitions.items():
        composites |= table(spellings(names), defined(definition))
    for names in _REAL:
        composites |= table(
            spellings(names), _if_real(composites[getattr(torch, names)])
        )
    gated = {
        **table(spellings(_GRIDS), _rest_frozen),
        **table(spellings(_ANGLES), _frozen),
        **table(spellings(_STEPS), _stepped),
        **table(spellings(_NORMS), _norm),
        **table(spellings("var_mean"), _var_mean),
    }
    reductions = {
        **table(spellings("scatter_reduce"), _scatter_reduce),
        **table(spellings("segment_reduce"), _segment_reduce),
    }
    return composites, gated, reductions


_REAL = ("logaddexp", "logcumsumexp")
_GRIDS = """
    grid_sampler grid_sampler_2d grid_sampler_3d cudnn_grid_sampler
    _grid_sampler_2d_cpu_fallback istft quantile nanquantile
"""
_ANGLES = "angle atan2 arctan2"
_STEPS = "remainder fmod copysign floor_divide"
_NORMS = "norm linalg_norm linalg_vector_norm vector_norm"
COMPOSITES: FunctionTable
GATED: FunctionTable
REDUCTIONS: FunctionTable
COMPOSITES, GATED, REDUCTIONS = _tables()
"""Replacements where relevance is shared; the plain gradient needs none of them."""
