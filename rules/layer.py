"""Layers: an input times weights, which may depend on the input, plus a bias.

    y = x W + b,    y = a W b + c

Where two or three of the factors carry relevance, they share the product evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, mul
from typing import Any

import torch
from torch import Tensor

from ..engine import carries, spellings, splice, split, trainable, watch_source
from .affine import affine
from .quantization import is_packed, unpacked

__all__ = [
    "LAYERS",
    "bilinear",
    "layer_plainly",
    "layer_product",
    "per_channel",
    "plain_value",
]

LAYERS = spellings("""
    linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    convolution
""")


def layer_product(
    func: Callable[..., Any],
    x: Any,
    weight: Any,
    bias: Any = None,
    *args: Any,
    **kw: Any,
) -> Any:
    """Evaluate x * W + b, where W may depend on the input too.

    Args:
        func: A linear layer's or a convolution's function.
        x: The input.
        weight: The weight.
        bias: The bias, or None.
        *args: Its other arguments.
        **kw: Its keyword arguments.

    Returns:
        The output.
    """
    if not carries(weight) or not carries(x):
        return layer_plainly(func, x, weight, bias, *args, **kw)
    both = (split(x, 2), split(weight, 2))
    return watch_bias(func(*both, bias, *args, **kw), weight, bias)


def layer_plainly(
    func: Callable[..., Any],
    x: Any,
    weight: Any,
    bias: Any = None,
    *args: Any,
    **kw: Any,
) -> Any:
    """Evaluate x * W + b, its product left to its own gradient.

    Args:
        func: A linear layer's or a convolution's function.
        x: The input.
        weight: The weight.
        bias: The bias, or None.
        *args: Its other arguments.
        **kw: Its keyword arguments.

    Returns:
        The output.
    """
    live = carries(x)
    if live and is_packed(weight):
        return unpacked(layer_plainly, func, x, weight, bias, *args, **kw)
    if not live and carries(bias) and not carries(weight):
        return affine(func, x, weight, bias, *args, **kw)
    if _folds(func, x, weight):
        y = plain_value(func, x, weight, bias)
        y = splice(y, x, lambda grad, w: grad @ w, weight) if live else y
        return watch_bias(y, weight, bias)
    return watch_bias(func(x, weight, bias, *args, **kw), weight, bias)


def _folds(func: Callable[..., Any], x: Tensor, weight: Tensor) -> bool:
    """Tell whether torch multiplies otherwise if the weight requires a gradient."""
    folded = x.ndim < 3 or "linear" not in func.__name__ or _is_foldable(x)
    return not folded and trainable(weight)


def _is_foldable(x: Tensor) -> bool:
    """Tell whether the leading dimensions are one as they lie in memory."""
    # Not is_contiguous(), which overlooks the strides of dimensions of size 1.
    steps = x.stride()
    return all(map(eq, steps, map(mul, steps[1:], x.shape[1:])))


def plain_value(
    func: Callable[..., Any], x: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Evaluate a layer as torch does outside a scope, bit for bit.

    Args:
        func: The layer's function.
        x: Its input.
        weight: Its weight, detached if it is a parameter.
        *args: Its other arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The output, without a graph.
    """
    if not _folds(func, x, weight):
        with torch.no_grad():
            result: Tensor = func(x, weight, *args, **kwargs)
            return result
    # It folds the leading dimensions then, which rounds differently.
    with torch.enable_grad():
        y: Tensor = func(x.detach(), weight.detach().requires_grad_(), *args, **kwargs)
    return y.detach()


def watch_bias(out: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Enter a layer's bias in the ledger.

    Args:
        out: The output of a linear layer or a convolution.
        weight: Its weight.
        bias: One number per channel, or None.

    Returns:
        The output.
    """
    if bias is not None and carries(out):
        watch_source(out, per_channel(bias, weight), bias)
    return out


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """Shape one number per channel so that it broadcasts to a layer's output.

    Args:
        values: [C].
        weight: The layer's weight, which tells how many dimensions come after the
            channels, whether the input has a batch dimension or not.

    Returns:
        [C] for ``linear``, [C, 1, ...] for a convolution.
    """
    return values.view(-1, *(1,) * (weight.ndim - 2)) if weight.ndim > 2 else values


def bilinear(
    func: Callable[..., Any], a: Any, b: Any, weight: Any, bias: Any = None
) -> Any:
    """Evaluate a W b + c, where each may carry relevance.

    Args:
        func: ``bilinear``.
        a: The left factor.
        b: The right factor.
        weight: What is between them.
        bias: What is added, or None.

    Returns:
        The sum.
    """
    factors = (a, b, weight)
    n = sum(map(carries, factors))
    if not n:
        return affine(func, *factors, bias)
    out = func(*(split(v, n) for v in factors), bias)
    if bias is not None:
        watch_source(out, bias)
    return out
