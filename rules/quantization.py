"""Dynamically quantised linear layers: their kernels have no derivative of their own.

y = q(x) W + b, where q rounds the input to eight bits. Relevance is shared as by the
linear layer with the same weights, R_i = x_i sum_j w_ij g_j; the bias's share, and the
share of what rounding added, are lines of the ledger.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..engine import LeafRule, register

__all__ = ["QuantizedLinear"]


@register("torch.ao.nn.quantized.dynamic.modules.linear.Linear")
class QuantizedLinear(LeafRule):
    """R_i = x_i sum_j w_ij g_j with the layer's own eight-bit weights."""

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
        weight = layer.weight().dequantize().to(grad.dtype)
        passed: Tensor = grad @ weight
        rounding = (grad * y).sum(-1) - (passed * x).sum(-1)
        bias = layer.bias()
        if bias is not None:
            kept = grad @ bias.detach().to(grad.dtype)
            self.source("bias", kept)
            rounding -= kept
        self.source("rounding", rounding)
        return passed
