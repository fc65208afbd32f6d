"""Linear and convolution layers: LRP-0 and the rules that share relevance otherwise.

With z_j = sum_i x_i w_ij + b_j the terms of a layer, every rule shares R(z_j) among
terms t_ij (Montavon et al. 2019, "Layer-wise relevance propagation: an overview"):

    0           t = x w
    epsilon     t = x w, in a denominator z + eps sign(z)
    gamma       t = x w + gamma (x w)+ for z > 0, x w + gamma (x w)- for z < 0
    alpha-beta  alpha (x w)+ / sum (x w)+  -  beta (x w)- / sum (x w)-
    z-plus      alpha-beta with alpha = 1, beta = 0
    w-square    t = w^2          (first layers)
    flat        t = 1            (first layers)
    z-box       t = x w - l w+ - h w-   for inputs in [l, h] (first layers)

What a rule keeps (a bias's share, an epsilon's, the relevance that w-square, flat and
z-box give to inputs that are exactly 0) is a line of the ledger.
"""

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
    register,
    rescale,
    spellings,
    splice,
    table,
)
from ..errors import ArgumentError
from .layer import LAYERS, layer_product, per_channel, plain_value
from .product import summed
from .quantization import is_packed, unpacked

__all__ = ["AlphaBeta", "Epsilon", "Flat", "Gamma", "WSquare", "ZBox", "ZPlus", "Zero"]

ADDMM = spellings("addmm")
Layer = Callable[[Tensor, Tensor], Tensor]
Keep = Callable[[str, Tensor], None]
Shares = tuple[Tensor, Tensor, Tensor]


class Zero(ScopeRule):
    """LRP-0: relevance is shared by contribution, which is the layer's own gradient."""


class _Sharing(ScopeRule):
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
        r = _product(grad, z)
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


def _transposed(layer: Layer, x: Tensor, w: Tensor, s: Tensor) -> Tensor:
    """Return s W^T, the layer's map from outputs back to inputs."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        (result,) = torch.autograd.grad(layer(point, w), point, s)
    return result


def _product(s: Tensor, terms: Tensor) -> Tensor:
    """Multiply; an infinite bias of an output that takes nothing takes nothing."""
    return torch.where(s == 0, 0.0, s * terms)


def _by_sign(
    layer: Layer, x: Tensor, positive: Tensor, negative: Tensor, s: Tensor
) -> Tensor:
    """Return s W^T with one weight for inputs >= 0 and another for inputs < 0."""
    up = _transposed(layer, x, positive, s)
    return torch.where(x >= 0, up, _transposed(layer, x, negative, s))


def _by_agreement(
    layer: Layer, x: Tensor, w: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sums of the positive and of the negative terms of a layer."""
    up, down = w.clamp(min=0), w.clamp(max=0)
    above, below = x.clamp(min=0), x.clamp(max=0)
    agree = layer(above, up) + layer(below, down) + b.clamp(min=0)
    return agree, layer(above, down) + layer(below, up) + b.clamp(max=0)


class Epsilon(_Sharing):
    """R_i = sum_j x_i w_ij / (z_j + eps sign z_j) R_j."""

    def __init__(self, epsilon: float = 1e-6) -> None:
        """Choose the stabiliser.

        Args:
            epsilon: Added to the magnitude of the denominator; absorbs relevance.
        """
        self.epsilon = epsilon

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share relevance by this rule."""
        s = rescale(torch.ones_like(z), r, z, self.epsilon)
        return _transposed(layer, x, w, s), _product(s, b), r - _product(s, z)


class Gamma(_Sharing):
    """R_i = sum_j (x_i w_ij + gamma (x_i w_ij)^sign z_j) / (...) R_j, for any signs.

    Contributions that agree with the sign of the output are boosted by 1 + gamma. For
    inputs and outputs >= 0 this is LRP-gamma as published.
    """

    def __init__(self, gamma: float = 0.25) -> None:
        """Choose the boost.

        Args:
            gamma: 0 is LRP-0; towards infinity only agreeing contributions count.

        Raises:
            ArgumentError: If it is negative.
        """
        if gamma < 0:
            raise ArgumentError(f"gamma={gamma!r} must be at least 0.")
        self.gamma = gamma

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share relevance by this rule."""
        up, down = w.clamp(min=0), w.clamp(max=0)
        agree, against = _by_agreement(layer, x, w, b)
        boosted = z + self.gamma * torch.where(z >= 0, agree, against)
        s = rescale(torch.ones_like(z), r, boosted)
        pos, neg = torch.where(z >= 0, s, 0.0), torch.where(z >= 0, 0.0, s)
        more, less = w + self.gamma * up, w + self.gamma * down
        dx = _by_sign(layer, x, more, less, pos) + _by_sign(layer, x, less, more, neg)
        boost = _product(pos, b.clamp(min=0)) + _product(neg, b.clamp(max=0))
        kept = _product(s, b) + self.gamma * boost
        return dx, kept, r - _product(s, boosted)


class AlphaBeta(_Sharing):
    """R_i = sum_j (alpha (x w)+ / sum (x w)+ - beta (x w)- / sum (x w)-) R_j."""

    def __init__(self, alpha: float = 2.0, beta: float = 1.0) -> None:
        """Choose the weights of supporting and opposing contributions.

        Args:
            alpha: At least 1.
            beta: alpha - 1.

        Raises:
            ArgumentError: If alpha - beta is not 1.
        """
        if alpha < 1 or abs(alpha - beta - 1) > 1e-9:
            raise ArgumentError(
                f"alpha={alpha!r}, beta={beta!r}: alpha must be at least 1 and "
                f"alpha - beta must be 1, as in alpha=2, beta=1."
            )
        self.alpha = alpha
        self.beta = beta

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share relevance by this rule."""
        up, down = w.clamp(min=0), w.clamp(max=0)
        agree, against = _by_agreement(layer, x, w, b)
        s = self.alpha * rescale(torch.ones_like(z), r, agree)
        t = -self.beta * rescale(torch.ones_like(z), r, against)
        dx = _by_sign(layer, x, up, down, s) + _by_sign(layer, x, down, up, t)
        kept = _product(s, b.clamp(min=0)) + _product(t, b.clamp(max=0))
        return dx, kept, r - _product(s, agree) - _product(t, against)


class ZPlus(AlphaBeta):
    """R_i = sum_j (x_i w_ij)+ / sum_i (x_i w_ij)+ R_j."""

    def __init__(self) -> None:
        """Take alpha = 1, beta = 0."""
        super().__init__(1.0, 0.0)


class _FirstLayer(_Sharing):
    """Rules whose terms do not vanish with the input: R_i is divided by x_i at the end.

    Relevance is read as input times gradient, so an input of exactly 0 cannot show any;
    what it would get stays in the ledger.
    """

    def _per_input(self, x: Tensor, shares: Tensor, keep: Keep | None) -> Tensor:
        if keep is not None:
            keep("rest", torch.where(x == 0, shares, 0.0))
        return rescale(torch.ones_like(x), shares, x)


class WSquare(_FirstLayer):
    """R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j; the bias takes nothing."""

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share relevance by this rule."""
        weights = self._weights(w)
        terms = layer(torch.ones_like(x), weights)
        s = rescale(torch.ones_like(z), r, terms)
        rest = r - _product(s, terms)
        return _transposed(layer, x, weights, s), torch.zeros_like(z), rest

    def _weights(self, w: Tensor) -> Tensor:
        return w.square()


class Flat(WSquare):
    """R_i = sum_j R_j / n_j: every input of an output gets the same."""

    def _weights(self, w: Tensor) -> Tensor:
        return torch.ones_like(w)


class ZBox(_FirstLayer):
    """R_i = sum_j (x_i w_ij - l w_ij+ - h w_ij-) / (...) R_j for inputs in [l, h]."""

    def __init__(self, low: float, high: float) -> None:
        """Choose the box.

        Args:
            low: The smallest value an input can have, at most 0.
            high: The largest, at least 0.

        Raises:
            ArgumentError: If the box does not contain 0.
        """
        if not low <= 0 <= high or low == high:
            raise ArgumentError(
                f"low={low!r}, high={high!r}: the box must contain 0, as in "
                "ZBox(-1.0, 1.0)."
            )
        self.low = low
        self.high = high

    def share(
        self, layer: Layer, x: Tensor, w: Tensor, b: Tensor, z: Tensor, r: Tensor
    ) -> Shares:
        """Share relevance by this rule."""
        up, down = w.clamp(min=0), w.clamp(max=0)
        low, high = torch.full_like(x, self.low), torch.full_like(x, self.high)
        terms = layer(x, w) - layer(low, up) - layer(high, down)
        s = rescale(torch.ones_like(z), r, terms)
        relevance = x * _transposed(layer, x, w, s)
        relevance -= low * _transposed(layer, x, up, s)
        relevance -= high * _transposed(layer, x, down, s)
        return relevance, torch.zeros_like(z), r - _product(s, terms)


register(
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    "transformers.pytorch_utils.Conv1D",
    family="linear",
)
