"""Normalisation over channels: GroupNorm, InstanceNorm, BatchNorm.

The LN-rule (see `normalization`) with other groups of features; running statistics are
constants anyway. A gain or a shift that carries relevance is a product and a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import FunctionTable, carries, spellings, splice, table, watch_source
from .centring import centred, per_channel, present, scaled
from .definition import as_defined

__all__ = ["channel_norms"]

GROUP = spellings("group_norm")
BATCH, INSTANCE = spellings("batch_norm"), spellings("instance_norm")


def channel_norms(freeze_scale: bool) -> FunctionTable:
    """Return the table of channel norms.

    Args:
        freeze_scale: Freeze the scale; otherwise the plain gradient.

    Returns:
        The function table.
    """
    if not freeze_scale:
        return table([*GROUP, *BATCH, *INSTANCE], _plain_channel_norm)
    return {
        **table(GROUP, _group_norm),
        **table(BATCH, _batch_norm),
        **table(INSTANCE, _instance_norm),
    }


def _group_norm(
    func: Callable[..., Any],
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    with torch.no_grad():
        y = func(x, groups, weight, bias, eps, *more)
    if carries(weight) or carries(bias):
        rest = (groups, None, None, eps, *more)
        return _adapted(y, x, func, weight, bias, *rest)
    if not carries(x):
        return y
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
        scaled = grad if weight is None else grad * per_channel(weight, grad)
        inner = scaled.reshape(grad.shape[0], groups, -1)
        return centred((-1,), inner, scale).reshape(grad.shape)

    y = splice(y, x, backward, *present(scale, weight))
    if bias is not None:
        watch_source(y, per_channel(bias, y), bias)
    return y


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
    if carries(weight) or carries(bias):
        kept = (None, None) if use_input_stats else (mean, var)
        rest = (None, None, *kept, use_input_stats, momentum, eps, *more)
        return _adapted(y, x, func, weight, bias, *rest)
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
    with torch.no_grad():
        y = func(x, weight, bias, mean, var, training, momentum, eps, *more)
    of_batch = training or mean is None or var is None
    if carries(weight) or carries(bias):
        kept = (None, None) if of_batch else (mean, var)  # counted once
        rest = (None, None, *kept, of_batch, momentum, eps, *more)
        return _adapted(y, x, func, weight, bias, *rest)
    if not carries(x):
        return y
    if of_batch:
        return _of_batch(y, x, weight, bias, eps)
    return _fixed_scale(y, x, weight, bias, mean, var, eps)


def _of_batch(
    y: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Take the batch's own statistics: its scale is frozen, its mean is not."""
    dims = (0, *range(2, x.ndim))
    with torch.no_grad():
        scale = (x.var(dims, correction=0, keepdim=True) + eps).rsqrt()

    def backward(grad: Tensor, scale: Tensor, weight: Tensor | None = None) -> Tensor:
        gain = None if weight is None else per_channel(weight, grad)
        return centred(dims, grad, scale, gain)

    y = splice(y, x, backward, *present(scale, weight))
    if bias is not None:
        watch_source(y, per_channel(bias, y), bias)
    return y


def _adapted(
    y: Tensor,
    x: Tensor,
    func: Callable[..., Tensor],
    weight: Tensor | None,
    bias: Tensor | None,
    *rest: Any,
) -> Tensor:
    """Take a gain or a shift that carries relevance, one number per channel."""
    shaped = (None if t is None else per_channel(t, y) for t in (weight, bias))
    result: Tensor = as_defined(y, scaled(func, *shaped), x, *rest)
    return result


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
    y = splice(y, x, lambda grad, s: grad * per_channel(s, grad), scale)
    watch_source(y, per_channel(shift, y), mean if bias is None else bias)
    return y


def _plain_channel_norm(
    func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    y = func(x, *args, **kwargs)
    bias = args[2] if "group" in func.__name__ else args[1]
    if bias is not None and carries(y):
        watch_source(y, per_channel(bias, y), bias)
    return y
