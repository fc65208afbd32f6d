"""Base of the rules that share a layer's relevance in another way than LRP-0."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import (
    FunctionTable,
    ScopeRule,
    active_scope,
    carries,
    spellings,
    splice,
    table,
)
from .layer import LAYERS, layer_product, per_channel, plain_value
from .product import summed
from .quantization import is_packed, unpacked

__all__ = [
    "Keep",
    "Layer",
    "Shares",
    "Sharing",
    "by_agreement",
    "by_sign",
    "product",
    "transposed",
]

ADDMM = spellings("addmm")
Layer = Callable[[Tensor, Tensor], Tensor]
Keep = Callable[[str, Tensor], None]
Shares = tuple[Tensor, Tensor, Tensor]


class Sharing(ScopeRule):
    """Base of the rules that share a layer's relevance in another way than LRP-0."""

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of linear and convolution layers.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        return {**table(LAYERS, self._layer), **table(ADDMM, self._addmm)}

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share the relevance of a layer's output.

        Args:
            layer: The bilinear map (x, w) -> x w, without bias.
            x: The input.
            w: The weight.
            b: The bias, in a shape that broadcasts to the output.
            z: The output, x w + b.
            r: Its relevance, in the shape of the output.

        Returns:
            The input's relevance divided by the input (for the first layer's rules,
            the input's relevance); the bias's and what else the rule keeps, in the
            shape of the output.
        """
        raise NotImplementedError

    def _layer(
        self,
        func: Callable[..., Any],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if not carries(x) or carries(weight):
            return layer_product(func, x, weight, bias, *args, **kwargs)
        if is_packed(weight):
            return unpacked(self._layer, func, x, weight, bias, *args, **kwargs)
        none = () if func.__name__ == "linear" else (None, *args)

        def layer(x: Tensor, w: Tensor) -> Tensor:
            result: Tensor = func(x, w, *none, **kwargs)
            return result

        z = plain_value(func, x, weight, bias, *args, **kwargs)
        shift = None if bias is None else per_channel(bias, weight)
        return self._splice(layer, x, weight, shift, z)

    def _addmm(
        self,
        func: Callable[..., Any],
        bias: Tensor,
        x: Tensor,
        weight: Tensor,
        **kwargs: Any,
    ) -> Any:
        if not carries(x) or carries(weight) or carries(bias) or kwargs:
            return summed(func, bias, x, weight, **kwargs)
        with torch.no_grad():
            z = func(bias, x, weight)
        return self._splice(torch.mm, x, weight, bias, z)

    def _splice(
        self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, z: Tensor
    ) -> Tensor:
        bias = z.new_zeros(()) if bias is None else bias
        keep = _keeper(x)
        backward = partial(self._backward, layer, keep)
        # A copy, since what comes next may overwrite the output.
        return splice(z, x, backward, x, weight, bias, z.clone())

    def _backward(
        self,
        layer: Layer,
        keep: Keep | None,
        grad: Tensor,
        x: Tensor,
        w: Tensor,
        b: Tensor,
        z: Tensor,
    ) -> Tensor:
        x, w, b = x.detach(), w.detach(), b.detach()
        r = product(grad, z)
        shares, kept, rest = self.share(layer, x, w, b, z, r)
        if keep is not None:
            keep("bias", kept)
            keep("rest", rest)
        return self._per_input(x, shares, keep)

    def _per_input(self, x: Tensor, shares: Tensor, keep: Keep | None) -> Tensor:
        """Return the gradient for the input."""
        return shares


def _keeper(x: Tensor) -> Keep | None:
    scope = active_scope()
    if scope is None or scope.collector is None:
        return None
    collector, module = scope.collector, scope.constants.name_source("")
    share = collector.share_of(x)

    def keep(name: str, terms: Tensor) -> None:
        flat = terms.sum(-1) if terms.ndim > 1 else terms
        part = share.of_terms(x, flat.ndim) if share else None
        collector.add(f"{module}{name}", flat, part)

    return keep


def transposed(layer: Layer, x: Tensor, w: Tensor, s: Tensor) -> Tensor:
    """Return s W^T, the layer's map from outputs back to inputs.

    Args:
        layer: The bilinear map (x, w) -> x w.
        x: The input.
        w: The weight.
        s: In the shape of the output.

    Returns:
        In the shape of ``x``.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        (result,) = torch.autograd.grad(layer(point, w), point, s)
    return result


def product(s: Tensor, terms: Tensor) -> Tensor:
    """Multiply; an infinite bias of an output that takes nothing takes nothing.

    Args:
        s: A factor.
        terms: The other, which may be infinite where ``s`` is 0.

    Returns:
        The product.
    """
    return torch.where(s == 0, 0.0, s * terms)


def by_sign(
    layer: Layer, x: Tensor, positive: Tensor, negative: Tensor, s: Tensor
) -> Tensor:
    """Return s W^T with one weight for inputs >= 0 and another for inputs < 0.

    Args:
        layer: The bilinear map (x, w) -> x w.
        x: The input.
        positive: The weight for inputs >= 0.
        negative: The other.
        s: In the shape of the output.

    Returns:
        In the shape of ``x``.
    """
    up = transposed(layer, x, positive, s)
    return torch.where(x >= 0, up, transposed(layer, x, negative, s))


def by_agreement(
    layer: Layer, x: Tensor, w: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sums of the positive and of the negative terms of a layer.

    Args:
        layer: The bilinear map (x, w) -> x w.
        x: The input.
        w: The weight.
        b: The bias.

    Returns:
        Both, in the shape of the output.
    """
    up, down = w.clamp(min=0), w.clamp(max=0)
    above, below = x.clamp(min=0), x.clamp(max=0)
    agree = layer(above, up) + layer(below, down) + b.clamp(min=0)
    return agree, layer(above, down) + layer(below, up) + b.clamp(max=0)
