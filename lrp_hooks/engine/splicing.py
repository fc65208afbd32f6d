"""The autograd nodes of rules: a value that was computed elsewhere, with any backward.

A rule's backward pass takes gates and weights for constants, so that a second one must
not go through it, and several at once only where the rule was made for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import SecondOrderError, UnsupportedModelError
from .kept import keep_saved, read_saved

__all__ = ["is_of_rules", "splice", "watched"]

_is_batched = torch._C._functorch.is_legacy_batchedtensor
_transformed = torch._C._are_functorch_transforms_active
Backward = Callable[..., Tensor | None]


def is_of_rules(node: object) -> bool:
    """Tell a node that a rule stands behind from one of autograd's own.

    Args:
        node: A node of a graph.

    Returns:
        True for what `splice` and `watched` record.
    """
    made = getattr(node, "_forward_cls", None)
    return made is not None and made.__module__ == __name__


def _check_batched(ctx: Any, grad: Tensor) -> None:
    """Refuse a gradient that stands for several, unless the rule was made for it."""
    batched = _is_batched(grad) or _transformed()
    if batched and not getattr(ctx, "takes_batches", False):
        raise UnsupportedModelError(
            "a gradient of an instrumented model was asked for in a batch "
            "(is_grads_batched=True, vectorize=True, torch.vmap), which no rule goes "
            "through; run one backward pass for each output."
        )


class _Splice(torch.autograd.Function):
    """y = value; dL/dx = backward(dL/dy, *saved)."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        backward: Backward,
        keep_value: bool,
        x: Tensor,
        *saved: Tensor,
    ) -> Tensor:
        # Marked dirty rather than returned as an alias: autograd forbids in-place
        # operations on an alias that a custom function returns.
        ctx.mark_dirty(value)
        kept = (*saved, value) if keep_value else saved
        ctx.save_for_backward(*kept)
        keep_saved(ctx, kept)
        ctx.rule = backward
        ctx.n_saved = len(saved)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad = _ruled(ctx, grads[0])
        return (None, None, None, grad, *(None,) * ctx.n_saved)


class _Wire(torch.autograd.Function):
    """0, joined to weights: a backward pass that reaches it comes for them."""

    @staticmethod
    def forward(ctx: Any, tell: Callable[[], None], *weights: Tensor) -> Tensor:
        ctx.tell = tell
        ctx.none = (None,) * (1 + len(weights))
        return weights[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.tell()
        return ctx.none


class _Watched(torch.autograd.Function):
    """y = x; the gradient for x is y's own, that for the wire is 0.

    A copy, since the model may have saved x, and whoever gets y may overwrite it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, wire: Tensor) -> Tensor:
        ctx.save_for_backward(wire)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (wire,) = ctx.saved_tensors
        once = torch.is_grad_enabled() and not getattr(ctx, "recorded", False)
        grad = _once(grads[0], wire) if once else grads[0]
        return grad, grad.new_zeros(())


def watched(y: Tensor, weights: Sequence[Tensor], tell: Callable[[], None]) -> Tensor:
    """Join an output to weights, so that asking for their gradients is noticed.

    ``torch.autograd.grad`` with respect to other tensors does not come by.

    Args:
        y: An output.
        weights: Leaves that require a gradient; they get none.
        tell: Called when a backward pass asks for the gradient of one.

    Returns:
        ``y`` bit for bit.
    """
    wire = _Wire.apply(tell, *weights)  # type: ignore[no-untyped-call]
    result: Tensor = _Watched.apply(y, wire)  # type: ignore[no-untyped-call]
    return result


class _InPlaceSplice(torch.autograd.Function):
    """Rebases a tensor that was overwritten in place: x = new value of x."""

    @staticmethod
    def forward(ctx: Any, backward: Backward, x: Tensor, *saved: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(*saved)
        ctx.rule = backward
        ctx.n_saved = len(saved)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return (None, _ruled(ctx, grads[0]), *(None,) * ctx.n_saved)


def _ruled(ctx: Any, grad: Tensor) -> Tensor | None:
    """Run a rule; a backward pass that is recorded itself must not go through it."""
    _check_batched(ctx, grad)
    if not torch.is_grad_enabled():  # autograd enables it for create_graph=True
        return ctx.rule(grad, *read_saved(ctx))  # type: ignore[no-any-return]
    if getattr(ctx, "recorded", False):  # gates and weights are constants here
        return ctx.rule(grad, *(t.detach() for t in read_saved(ctx)))  # type: ignore[no-any-return]
    with torch.no_grad():
        result = ctx.rule(grad, *read_saved(ctx))
    return None if result is None else _once(result, grad, *read_saved(ctx))


class _Once(torch.autograd.Function):
    """y = value, which cannot be differentiated with respect to what it was made of."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *made_of: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise SecondOrderError(
            "a gradient of relevance was asked for (create_graph=True): the gates and "
            "the weights behind relevance are constants, which it would miss. Take "
            "the plain model's: remove() first, or instrument(model, "
            "rules='gradient')."
        )


def _once(value: Tensor, *made_of: Tensor) -> Tensor:
    result: Tensor = _Once.apply(value, *made_of)  # type: ignore[no-untyped-call]
    return result


def splice(
    value: Tensor,
    x: Tensor,
    backward: Backward,
    *saved: Tensor,
    keep_value: bool = False,
) -> Tensor:
    """Join ``value`` to ``x`` by a backward of the caller's own.

    Args:
        value: The output, of any shape, however it was computed.
        x: The input that relevance flows to. Where ``value`` is ``x`` itself, ``x``
            was overwritten in place and its graph is continued.
        backward: Called as ``backward(grad, *saved)`` with the gradient for
            ``value``; returns the gradient for ``x``.
        *saved: Tensors kept for the backward pass.
        keep_value: Keep ``value`` too; ``backward`` gets it as its last argument.

    Returns:
        ``value`` bit for bit, recorded as a function of ``x``.
    """
    if value is x:
        result: Tensor = _InPlaceSplice.apply(backward, x, *saved)  # type: ignore[no-untyped-call]
    else:
        apply = _Splice.apply if _transformed() else _splice
        result = apply(value.detach(), backward, keep_value, x, *saved)  # type: ignore[no-untyped-call]
    return result


_splice = super(torch.autograd.Function, _Splice).apply
"""``_Splice.apply`` without what torch does for transforms, in half the time."""
