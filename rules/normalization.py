"""Normalisation: the scale is frozen, the mean is not (the LN-rule).

y = (x - E[x]) / sqrt(eps + Var[x]) with the denominator taken as a constant
(Ali et al. 2022, LN-rule). Centring and the affine map stay linear layers, so relevance
is conserved up to the bias. RMSNorm has no mean: R(x_i) = R(y_i) (Achtibat et al.
2024). A normaliser spelled in other functions ends in a division, a reciprocal or a
negative power; there the denominator is frozen, which is the same rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine import (
    FunctionTable,
    Rule,
    ScopeRule,
    carries,
    freeze,
    register,
    register_shape,
    spellings,
    splice,
    table,
    watch_gate,
    watch_source,
)
from .centring import centred, present, scaled
from .channel_normalization import channel_norms
from .definition import as_defined
from .gated import rounded
from .rms_norm import FrozenRMS, looks_like_rms_norm

__all__ = ["Normalization"]

LAYER = spellings("layer_norm", F.layer_norm)
RMS = spellings("rms_norm", F.rms_norm)
DIVISIONS = spellings("div divide true_divide")
RECIPROCALS = spellings("rsqrt reciprocal")
SOLVERS = spellings("linalg_solve linalg_solve_triangular solve solve_triangular")
POWERS = spellings("pow float_power")
SHIFTS = spellings("log_softmax")
SOFT_MAXIMA = spellings("logsumexp")
SIMILARITIES = spellings("cosine_similarity")

RMS_RULE = FrozenRMS()


class Normalization(ScopeRule):
    """R_in = R_out minus the bias's share: frozen scale, live mean."""

    def __init__(self, freeze_scale: bool = True) -> None:
        """Choose between the rule and the plain gradient.

        Args:
            freeze_scale: Freeze the scale; otherwise the plain gradient.
        """
        self.freeze_scale = freeze_scale

    def at(self, module: nn.Module) -> Rule:
        """Take a module that looks like RMSNorm as a whole.

        Args:
            module: A member of the family.

        Returns:
            The rule for it.
        """
        return RMS_RULE if self.freeze_scale and looks_like_rms_norm(module) else self

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of normalisers.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        if not self.freeze_scale:
            free = [*DIVISIONS, *SOLVERS, *RECIPROCALS, *POWERS, *RMS]
            return {
                **table(free, None),
                **table([*SHIFTS, *SOFT_MAXIMA, *SIMILARITIES], None),
                **table(LAYER, _plain_layer_norm),
                **channel_norms(freeze_scale=False),
            }
        return {
            **table(LAYER, _layer_norm),
            **table(RMS, _rms_norm),
            **channel_norms(freeze_scale=True),
            **table(DIVISIONS, _divide),
            **table(SOLVERS, _solve),
            **table(RECIPROCALS, _frozen),
            **table(POWERS, _power),
            **table(SHIFTS, _log_softmax),
            **table(SOFT_MAXIMA, _logsumexp),
            **table(SIMILARITIES, _cosine_similarity),
        }


def _layer_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    if carries(weight) or carries(bias):
        with torch.no_grad():
            y = func(x, normalized_shape, weight, bias, eps, *more)
        rest = (normalized_shape, None, None, eps, *more)
        return as_defined(y, scaled(func, weight, bias), x, *rest)
    if not carries(x):
        return func(x, normalized_shape, weight, bias, eps, *more)
    dims = tuple(range(-len(normalized_shape), 0))
    given = (normalized_shape, weight, bias, eps)
    y, _, scale = torch.native_layer_norm(x.detach(), *given)
    y = splice(y, x, partial(centred, dims), *present(scale, weight))
    if bias is not None:
        watch_source(y, bias)
    return y


def _rms_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    if carries(weight):
        with torch.no_grad():
            y = func(x, normalized_shape, weight, eps)
        rest = (normalized_shape, None, eps)
        return as_defined(y, scaled(func, weight, None), x, *rest)
    if not carries(x):
        return func(x, normalized_shape, weight, eps)
    dims = tuple(range(-len(normalized_shape), 0))
    with torch.no_grad():
        y = func(x, normalized_shape, weight, eps)
        small = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.square().mean(dims, keepdim=True) + small).rsqrt()

    def backward(grad: Tensor, scale: Tensor, weight: Tensor | None = None) -> Tensor:
        gain = scale if weight is None else weight * scale
        return grad * gain.conj()

    return splice(y, x, backward, *present(scale, weight))


def _divide(func: Callable[..., Any], a: Any, other: Any, **kwargs: Any) -> Any:
    if kwargs.get("rounding_mode") is not None:
        return rounded(func, a, other, **kwargs)
    return func(a, freeze(other) if carries(other) else other, **kwargs)


def _solve(func: Callable[..., Any], a: Tensor, b: Tensor, **kwargs: Any) -> Any:
    """A^-1 B, a division by a matrix."""
    return func(freeze(a), b, **kwargs)


def _frozen(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return func(freeze(x), *args, **kwargs)


def _power(func: Callable[..., Any], base: Any, exponent: Any, **kwargs: Any) -> Any:
    """x^-p has a pole at 0: it is a scale, and frozen."""
    is_scale = isinstance(exponent, int | float) and exponent < 0 and carries(base)
    return func(freeze(base) if is_scale else base, exponent, **kwargs)


def _log_softmax(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Take x - logsumexp(x): the shift is a normaliser, frozen, and a source."""
    if not carries(x):
        return func(x, *args, **kwargs)
    with torch.no_grad():
        y = func(x, *args, **kwargs)
    shift = (y - x).detach()
    y = splice(y, x, lambda grad: grad)
    watch_source(y, shift, "log_softmax")
    watch_gate(y, x, "log_softmax")
    return y


def _logsumexp(
    func: Callable[..., Any], x: Tensor, dim: Any, *args: Any, **kwargs: Any
) -> Any:
    """Sum p x - sum p log p, p = softmax(x) frozen: its own gradient and a source."""
    y = func(x, dim, *args, **kwargs)
    if carries(y):
        keep = args[0] if args else kwargs.get("keepdim", False)
        with torch.no_grad():
            p = (x - torch.logsumexp(x, dim, keepdim=True)).exp()
            entropy = y - torch.where(p == 0, 0.0, p * x).sum(dim, keepdim=keep)
        watch_source(y, entropy, "logsumexp")
    return y


def _cosine_similarity(
    func: Callable[..., Any], a: Tensor, b: Tensor, dim: int = 1, eps: float = 1e-8
) -> Any:
    """A b / (|a| |b|): the lengths are scales, and the product is shared."""
    if a.shape != b.shape:
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        a, b = a.expand(shape), b.expand(shape)
    with torch.no_grad():
        y = func(a, b, dim, eps)
        scale = a.norm(dim=dim).clamp(min=eps) * b.norm(dim=dim).clamp(min=eps)
    live = [t for t in (a, b) if carries(t)]
    twin = (a * b).sum(dim) / (scale * max(len(live), 1))
    return splice(y, twin, lambda grad: grad) if live else y


def _plain_layer_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    y = func(x, normalized_shape, weight, bias, eps, *more)
    if bias is not None:
        watch_source(y, bias)
    return y


register(
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LocalResponseNorm,
    family="normalization",
)
register_shape("normalization", "looks like RMSNorm", looks_like_rms_norm)
