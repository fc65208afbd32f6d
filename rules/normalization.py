"""Normalisation: the scale is frozen, the mean is not (the LN-rule).

y = (x - E[x]) / sqrt(eps + Var[x]) with the denominator taken as a constant
(Ali et al. 2022, LN-rule). Centring and the affine map stay linear layers, so relevance
is conserved up to the bias. RMSNorm has no mean: R(x_i) = R(y_i) (Achtibat et al.
2024). A normaliser spelled in other functions ends in a division, a reciprocal or a
negative power; there the denominator is frozen, which is the same rule.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..autograd import carries, freeze, pass_through, slope, splice
from ..functions import spellings, table
from ..registry import register, register_shape
from ..rule import FunctionTable, LeafRule, Rule, ScopeRule
from ..scope import watch_source
from .activation import NOT_A_FUNCTION

__all__ = ["Normalization"]

LAYER = spellings("layer_norm", F.layer_norm)
RMS = spellings("rms_norm", F.rms_norm)
GROUP = spellings("group_norm")
BATCH, INSTANCE = spellings("batch_norm"), spellings("instance_norm")
DIVISIONS = spellings("div divide true_divide")
RECIPROCALS = spellings("rsqrt reciprocal")
POWERS = spellings("pow float_power")
SHIFTS = spellings("log_softmax")
SOFT_MAXIMA = spellings("logsumexp")
SIMILARITIES = spellings("cosine_similarity")


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
        return _RMS if self.freeze_scale and looks_like_rms_norm(module) else self

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of normalisers.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        if not self.freeze_scale:
            free = [*DIVISIONS, *RECIPROCALS, *POWERS, *RMS]
            return {
                **table(free, None),
                **table([*SHIFTS, *SOFT_MAXIMA, *SIMILARITIES], None),
                **table(LAYER, _plain_layer_norm),
                **table([*GROUP, *BATCH, *INSTANCE], _plain_channel_norm),
            }
        return {
            **table(LAYER, _layer_norm),
            **table(RMS, _rms_norm),
            **table(GROUP, _group_norm),
            **table(BATCH, _batch_norm),
            **table(INSTANCE, _instance_norm),
            **table(DIVISIONS, _divide),
            **table(RECIPROCALS, _frozen),
            **table(POWERS, _power),
            **table(SHIFTS, _log_softmax),
            **table(SOFT_MAXIMA, _logsumexp),
            **table(SIMILARITIES, _cosine_similarity),
        }


class FrozenRMS(LeafRule):
    """R(x_i) = R(y_i): with its scale frozen, RMSNorm is a product with a constant.

    Taken as a whole, since models compute it in float32 whatever their dtype.
    """

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Return ``grad * y/x``.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            grad: The gradient for the output.

        Returns:
            The gradient for the input.
        """
        return grad * slope(x, y)

    def join(
        self, module: nn.Module, x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Keep the input only.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            again: Runs the module's own forward on another ``x``.

        Returns:
            ``y`` bit for bit.
        """
        return pass_through(again, x, y)


_RMS = FrozenRMS()


def looks_like_rms_norm(module: nn.Module) -> bool:
    """Try a copy of a module: y/x must be one gain for every row, whatever its size.

    Args:
        module: Any module.

    Returns:
        True for RMSNorm in any spelling that is called with one tensor.
    """
    weights = list(module.parameters())
    if len(weights) > 1 or any(True for _ in (*module.buffers(), *module.children())):
        return False
    width = weights[0].shape[0] if weights and weights[0].ndim == 1 else 8
    if type(module).__module__.startswith("torch.nn.") or not _takes_one(module):
        return False
    x = torch.linspace(-2.0, 1.7, 2 * width, dtype=torch.float64).cos().view(2, width)
    try:
        function = copy.deepcopy(module).to(x).forward
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            y, double = function(x), function(2 * x)
    except NOT_A_FUNCTION:
        return False
    if (
        not isinstance(y, Tensor)
        or y.shape != x.shape
        or not torch.allclose(y, double, rtol=1e-3, atol=1e-6)
    ):
        return False
    gain = y / x * x.square().mean(-1, keepdim=True).sqrt()
    return torch.allclose(gain[0], gain[1], rtol=1e-3, atol=1e-6)


def _takes_one(module: nn.Module) -> bool:
    try:
        return len(inspect.signature(module.forward).parameters) == 1
    except (TypeError, ValueError):  # builtins have no signature
        return False


def _layer_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    if not carries(x):
        return func(x, normalized_shape, weight, bias, eps, *more)
    dims = tuple(range(-len(normalized_shape), 0))
    with torch.no_grad():
        y, _, scale = torch.native_layer_norm(x, normalized_shape, weight, bias, eps)
    y = splice(y, x, partial(_centred, dims), *_present(scale, weight))
    if bias is not None:
        watch_source(y, bias)
    return y


def _present(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _centred(
    dims: tuple[int, ...], grad: Tensor, scale: Tensor, weight: Tensor | None = None
) -> Tensor:
    scaled = grad if weight is None else grad * weight
    return (scaled - scaled.mean(dims, keepdim=True)) * scale


def _rms_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    if not carries(x):
        return func(x, normalized_shape, weight, eps)
    dims = tuple(range(-len(normalized_shape), 0))
    with torch.no_grad():
        y = func(x, normalized_shape, weight, eps)
        small = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.square().mean(dims, keepdim=True) + small).rsqrt()

    def backward(grad: Tensor, scale: Tensor, weight: Tensor | None = None) -> Tensor:
        return grad * scale if weight is None else grad * weight * scale

    return splice(y, x, backward, *_present(scale, weight))


def _group_norm(
    func: Callable[..., Any],
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    if not carries(x):
        return func(x, groups, weight, bias, eps, *more)
    with torch.no_grad():
        y = func(x, groups, weight, bias, eps, *more)
    return _grouped(y, x, groups, weight, bias, eps)


def _grouped(
    y: Tensor,
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    with torch.no_grad():
        parts = x.reshape(x.shape[0], groups, -1)
        scale = (parts.var(-1, correction=0, keepdim=True) + eps).rsqrt()

    def backward(grad: Tensor, scale: Tensor, weight: Tensor | None = None) -> Tensor:
        scaled = grad if weight is None else grad * _per_channel(weight, grad)
        inner = scaled.reshape(grad.shape[0], groups, -1)
        return _centred((-1,), inner, scale).reshape(grad.shape)

    y = splice(y, x, backward, *_present(scale, weight))
    if bias is not None:
        watch_source(y, _per_channel(bias, y), bias)
    return y


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(1, -1, *(1,) * (like.ndim - 2))


def _instance_norm(
    func: Callable[..., Any],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *more: Any,
) -> Any:
    with torch.no_grad():
        y = func(x, weight, bias, mean, var, use_input_stats, momentum, eps, *more)
    if not carries(x):
        return y
    if use_input_stats:
        return _grouped(y, x, x.shape[1], weight, bias, eps)
    return _fixed_scale(y, x, weight, bias, mean, var, eps)


def _batch_norm(
    func: Callable[..., Any],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *more: Any,
) -> Any:
    if training or not carries(x) or mean is None or var is None:
        return func(x, weight, bias, mean, var, training, momentum, eps, *more)
    with torch.no_grad():
        y = func(x, weight, bias, mean, var, training, momentum, eps, *more)
    return _fixed_scale(y, x, weight, bias, mean, var, eps)


def _fixed_scale(
    y: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
) -> Tensor:
    """Running statistics are constants: y = scale * x + shift, channel by channel."""
    assert mean is not None and var is not None
    scale = (var + eps).rsqrt() * (1.0 if weight is None else weight)
    shift = -mean * scale if bias is None else bias - mean * scale
    y = splice(y, x, lambda grad, s: grad * _per_channel(s, grad), scale)
    watch_source(y, _per_channel(shift, y), mean if bias is None else bias)
    return y


def _divide(func: Callable[..., Any], a: Any, other: Any, **kwargs: Any) -> Any:
    return func(a, freeze(other) if carries(other) else other, **kwargs)


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


def _plain_channel_norm(
    func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    y = func(x, *args, **kwargs)
    bias = args[2] if "group" in func.__name__ else args[1]
    if bias is not None:
        watch_source(y, _per_channel(bias, y), bias)
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
