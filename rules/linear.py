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

import torch
from torch import Tensor, nn

from ..engine import ScopeRule, register, rescale
from ..errors import ArgumentError
from .sharing import (
    Keep,
    Layer,
    Shares,
    Sharing,
    by_agreement,
    by_sign,
    product,
    transposed,
)

__all__ = ["AlphaBeta", "Epsilon", "Flat", "Gamma", "WSquare", "ZBox", "ZPlus", "Zero"]


class Zero(ScopeRule):
    """LRP-0: relevance is shared by contribution, which is the layer's own gradient."""


class Epsilon(Sharing):
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
        return transposed(layer, x, w, s), product(s, b), r - product(s, z)


class Gamma(Sharing):
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
        agree, against = by_agreement(layer, x, w, b)
        boosted = z + self.gamma * torch.where(z >= 0, agree, against)
        s = rescale(torch.ones_like(z), r, boosted)
        pos, neg = torch.where(z >= 0, s, 0.0), torch.where(z >= 0, 0.0, s)
        more, less = w + self.gamma * up, w + self.gamma * down
        dx = by_sign(layer, x, more, less, pos) + by_sign(layer, x, less, more, neg)
        boost = product(pos, b.clamp(min=0)) + product(neg, b.clamp(max=0))
        kept = product(s, b) + self.gamma * boost
        return dx, kept, r - product(s, boosted)


class AlphaBeta(Sharing):
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
        agree, against = by_agreement(layer, x, w, b)
        s = self.alpha * rescale(torch.ones_like(z), r, agree)
        t = -self.beta * rescale(torch.ones_like(z), r, against)
        dx = by_sign(layer, x, up, down, s) + by_sign(layer, x, down, up, t)
        kept = product(s, b.clamp(min=0)) + product(t, b.clamp(max=0))
        return dx, kept, r - product(s, agree) - product(t, against)


class ZPlus(AlphaBeta):
    """R_i = sum_j (x_i w_ij)+ / sum_i (x_i w_ij)+ R_j."""

    def __init__(self) -> None:
        """Take alpha = 1, beta = 0."""
        super().__init__(1.0, 0.0)


class _FirstLayer(Sharing):
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
        rest = r - product(s, terms)
        return transposed(layer, x, weights, s), torch.zeros_like(z), rest

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
        relevance = x * transposed(layer, x, w, s)
        relevance -= low * transposed(layer, x, up, s)
        relevance -= high * transposed(layer, x, down, s)
        return relevance, torch.zeros_like(z), r - product(s, terms)


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
