"""Linear layers with weights of eight or four bits.

    y = q(x) W + b

where q rounds the input to eight bits, or leaves it. Relevance is shared as by the
linear layer with the same weights, R_i = x_i sum_j w_ij g_j; the bias's share, and the
share of what rounding added, are lines of the ledger.

A layer of torch's or of bitsandbytes is a module of its own, whose kernel no scope
sees. A weight of torchao is a tensor of its own in an ordinary layer: `unpacked` stands
before the layer's rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import LeafRule, carries, register, splice, watch_source

__all__ = ["QuantizedLinear", "is_packed", "unpacked"]


@register(
    "torch.ao.nn.quantized.dynamic.modules.linear.Linear",
    "bitsandbytes.nn.modules.Linear4bit",
    "bitsandbytes.nn.modules.Linear8bitLt",
)
class QuantizedLinear(LeafRule):
    """R_i = x_i sum_j w_ij g_j with the layer's own eight-bit or four-bit weights."""

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Return ``grad W`` and report what the bias and rounding keep.

        Args:
            module: The quantised layer.
            x: Its input, [..., I].
            y: Its output, [..., O].
            grad: The gradient for the output.

        Returns:
            The gradient for the input.
        """
        layer: Any = module
        packed = callable(layer.weight)  # torch's own, which has no derivative
        bias: Tensor | None = layer.bias() if packed else layer.bias
        if packed:
            passed: Tensor = grad @ layer.weight().dequantize().to(grad.dtype)
        else:
            passed = _pulled(layer, x, grad)
        rounding = (grad * y).sum(-1) - (passed * x).sum(-1)
        if bias is not None:
            kept = grad @ bias.detach().to(grad.dtype)
            self.source("bias", kept)
            rounding -= kept
        self.source("rounding", rounding)
        return passed


def _pulled(layer: nn.Module, x: Tensor, grad: Tensor) -> Tensor:
    """Return ``grad W`` by the layer's own backward, without its hooks."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        result: Tensor
        (result,) = torch.autograd.grad(type(layer).forward(layer, point), point, grad)
    return result


def is_packed(weight: object) -> bool:
    """Tell a weight that is stored in few bits, as torchao's are.

    Args:
        weight: A layer's weight.

    Returns:
        True for a tensor of a type that unpacks itself.
    """
    return (
        isinstance(weight, Tensor) and type(weight).dequantize is not Tensor.dequantize
    )


def unpacked(
    layer: Callable[..., Any],
    func: Callable[..., Any],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Give a linear layer the rule that it would have with the same weights unpacked.

    Args:
        layer: The rule, called as ``layer(func, x, weight, bias)``.
        func: ``linear``.
        x: The input, which carries relevance.
        weight: A packed weight.
        bias: The bias, or None.

    Returns:
        The layer's own output; what rounding added is a source of the weight's name.
    """
    with torch.no_grad():
        value = func(x, weight, bias)
    twin = layer(func, x, weight.dequantize().to(x.dtype), bias)
    out = splice(value, twin, lambda grad: grad)
    if carries(out):
        watch_source(out, value - twin.detach(), weight)
    return out
