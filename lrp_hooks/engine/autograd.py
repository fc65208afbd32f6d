"""The primitives that carry every rule: freeze, secant, split, rescale.

All of them keep a value bit for bit and change only what autograd does with it. They
are built on `splice`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .constancy import histories, leads_nowhere
from .splicing import splice

__all__ = [
    "carries",
    "clear_of_zero",
    "freeze",
    "on_gradient",
    "pass_through",
    "rescale",
    "scale_gradient",
    "secant",
    "secant_backward",
    "slope",
    "split",
]


def carries(value: object) -> bool:
    """Tell whether relevance can flow through a value.

    Args:
        value: Anything that a function was called with.

    Returns:
        True for a tensor that is recorded by autograd and not made of constants alone.
    """
    if not isinstance(value, Tensor) or not value.requires_grad:
        return False
    return not (histories.dropped and leads_nowhere(value))


def on_gradient(x: Tensor, act: Callable[[Tensor], None]) -> None:
    """Call a function with a tensor's gradient when the backward pass comes by.

    It sees the gradient that goes on from here: hooks of others on the tensor come
    first. Where the tensor is overwritten afterwards, it sees that of the old values.

    Args:
        x: A tensor that carries relevance.
        act: Called with the gradient.
    """
    node, number = x.grad_fn, x.output_nr

    def hook(grads: tuple[Tensor | None, ...]) -> None:
        grad = grads[number]
        if grad is not None:  # torch passes None where all is cut
            act(grad)

    if node is None:
        x.register_hook(lambda grad: hook((grad,)))  # type: ignore[no-untyped-call]
    else:
        node.register_prehook(hook)  # cheaper than a tensor's own


def freeze(x: Tensor) -> Tensor:
    """Make a constant of a tensor: no relevance flows through it.

    Args:
        x: Any tensor.

    Returns:
        The same values without a graph.
    """
    return x.detach()


def _times(factor: float, grad: Tensor) -> Tensor:
    return grad * factor


def split(x: Tensor, n: float) -> Tensor:
    """Give a factor of an n-fold product its even share of relevance.

    Args:
        x: One factor, of any shape.
        n: How many factors share the product's relevance.

    Returns:
        ``x`` bit for bit; its gradient is divided by ``n``.
    """
    if not carries(x):
        return x
    # .data has a version counter of its own: what others saved of x stays valid.
    return splice(x.data, x, partial(_times, 1.0 / n))


def scale_gradient(y: Tensor, factor: float) -> Tensor:
    """Multiply the gradient of a result that was just computed.

    Args:
        y: A tensor that nothing else refers to yet, such as a product.
        factor: What the gradient of everything behind ``y`` is multiplied with.

    Returns:
        ``y`` bit for bit.
    """
    if not carries(y):
        return y
    # In place on a view, autograd copies its base's gradient and hides the node.
    return splice(y.data if y._is_view() else y, y, partial(_times, factor))


def rescale(
    grad: Tensor, output: Tensor, denominator: Tensor, epsilon: float = 0.0
) -> Tensor:
    """Turn a gradient into the coefficient of an epsilon- or gamma-type rule.

    Relevance ``output * grad`` is to be shared in proportion to terms that sum to
    ``denominator``, which gives the coefficient ``output * grad / denominator``.

    Args:
        grad: The gradient for ``output``.
        output: z, the layer's output.
        denominator: The sum of the terms that the rule shares by.
        epsilon: Added to the denominator's magnitude.

    Returns:
        The coefficient, in the shape of ``output``; 0 where the denominator is 0.
    """
    sign = torch.where(denominator < 0, -1.0, 1.0).to(denominator.dtype)
    stable = denominator + epsilon * sign
    dead = stable == 0
    return torch.where(dead, 0.0, grad * output / torch.where(dead, 1.0, stable))


def slope(x: Tensor, y: Tensor) -> Tensor:
    """Return the secant slope y/x, finite in every dtype.

    At ``x = 0`` it is the limit dy/dx, read from the graph where autograd recorded how
    ``y`` came from ``x`` (as it did for the arguments of `LeafRule.relevance`). Without
    a graph the slope at 0 is 1, which leaves a relevance of 0 as it is.

    Args:
        x: The input of a function with ``y_i = 0`` where ``x_i = 0``.
        y: Its output, in the shape of ``x``.

    Returns:
        The slope, in the shape of ``x``.
    """
    value, point = y.detach(), x.detach()
    if point.numel() == 0 or clear_of_zero(point):
        return value / point
    # Below the smallest normal number y/x is made of rounding.
    near = point.abs() <= torch.finfo(point.dtype).tiny
    # What is infinite and reaches a finite output has no gradient: 0, not 0 * NaN.
    far = point.isinf()
    ratio = torch.where(far, 0.0, value / torch.where(near | far, 1.0, point))
    return torch.where(near, _limit(x, y, near), ratio)


def _limit(x: Tensor, y: Tensor, near: Tensor) -> Tensor:
    # Seeding only the zeros makes this exact for RMSNorm too: there the off-diagonal
    # terms of the Jacobian carry a factor x_i = 0.
    if not (carries(x) and carries(y)):
        return torch.ones_like(y.detach())
    (limit,) = torch.autograd.grad(
        y, x, near.to(y.dtype), retain_graph=True, allow_unused=True
    )
    if limit is None:
        return torch.zeros_like(x)
    # Overflow in halves; autograd gives the conjugate of a complex derivative.
    return _zero_unless_finite(limit.detach().to(x.dtype)).conj()


def _zero_unless_finite(x: Tensor) -> Tensor:
    return torch.where(x.isfinite(), x, 0.0)


def secant(x: Tensor, y: Tensor) -> Tensor:
    """Let an element-wise function pass relevance unchanged: R(x) = R(y).

    Args:
        x: The input.
        y: The output, in the shape of ``x``; best computed from ``x`` with autograd on,
            which gives the limit of the slope at 0.

    Returns:
        ``y`` bit for bit, with the gradient ``y/x`` with respect to ``x``.
    """
    if not carries(x):
        return y
    kept = slope(x, y)
    return splice(y, x, lambda grad, s: _real_as(x, grad * s.conj()), kept)


def pass_through(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Let an element-wise function pass relevance unchanged, keeping only ``x``.

    As `secant`, but the slope is computed again in the backward pass, so that no more
    memory is held than by the function's own derivative.

    Args:
        function: Element-wise, with ``function(0) = 0``.
        x: The input, of any shape.
        y: ``function(x)``.

    Returns:
        ``y`` bit for bit, with the gradient ``y/x`` with respect to ``x``.
    """
    return splice(y, x, partial(secant_backward, function), x)


def secant_backward(
    function: Callable[[Tensor], Tensor], grad: Tensor, x: Tensor
) -> Tensor:
    """Return the gradient for ``x`` of an element-wise function's secant.

    Args:
        function: Element-wise, with ``function(0) = 0``.
        grad: The gradient for ``function(x)``.
        x: The input.

    Returns:
        ``grad * function(x)/x``, in the shape of ``x``.
    """
    if x.numel() == 0 or clear_of_zero(x):
        with torch.no_grad():
            ratio = torch.div(function(x), x).conj()
        plain = grad.requires_grad or x.is_complex()
        return _real_as(x, grad * ratio if plain else ratio.mul_(grad))
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        y = function(point)
    return _real_as(x, grad * slope(point, y).conj())


def _real_as(x: Tensor, grad: Tensor) -> Tensor:
    """Give a gradient the dtype of a tensor."""
    if grad.is_complex() and not x.is_complex():
        grad = grad.real
    return grad.to(x.dtype)


def clear_of_zero(x: Tensor) -> bool:
    """Tell whether y/x is safe to take everywhere.

    Args:
        x: Any tensor with at least one element.

    Returns:
        True if no element is infinite, zero, or smaller than the smallest normal
        number.
    """
    low, high = x.detach().abs().aminmax()
    return bool(low.item() > torch.finfo(x.dtype).tiny and high.item() < torch.inf)
