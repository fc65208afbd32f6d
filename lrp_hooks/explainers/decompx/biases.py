"""How a bias is shared among the source tokens at the place where it is added.

The share of token k is w_k / sum_k' w_k' with w_k the rule's weight for the vectors
z_k that sum to the value before the bias (Modarressi et al. 2023, eq. 5).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["LINEAR", "RULES", "add_bias", "shares"]

Weigh = Callable[[Tensor, Tensor], Tensor]


def add_bias(rule: str, z: Tensor, bias: Tensor | None) -> None:
    """Add a bias to decomposed vectors, in place.

    Args:
        rule: One of `RULES`; ``"none"`` leaves the bias out.
        z: The vectors before the bias, [n, K, D], for n tokens and K sources.
        bias: [D], or one for each token, [n, D]; None for none.
    """
    if bias is not None and rule != "none":
        z.addcmul_(shares(rule, z, bias), bias.unsqueeze(-2))


def shares(rule: str, z: Tensor, bias: Tensor) -> Tensor:
    """Return what part of a bias each source gets.

    Args:
        rule: One of `RULES`.
        z: The vectors before the bias, [n, K, D].
        bias: [D], or one for each token, [n, D].

    Returns:
        [n, K, 1]; the parts of a token sum to 1.
    """
    weights = RULES[rule](z, bias)
    total = weights.sum(-1, keepdim=True)
    # A bias that no source has anything in common with is everyone's.
    return torch.where(total > 0, weights / total, 1 / z.shape[1]).unsqueeze(-1)


def _dot_products(z: Tensor, bias: Tensor) -> Tensor:
    products: Tensor = (z @ bias.unsqueeze(-1)).squeeze(-1)
    return products


def _abs_dot(z: Tensor, bias: Tensor) -> Tensor:
    """|b . z_k|, which the paper recommends."""
    return _dot_products(z, bias).abs()


def _norm(z: Tensor, bias: Tensor) -> Tensor:
    """||z_k||."""
    norms: Tensor = torch.linalg.vector_norm(z, dim=-1)
    return norms


def _abs_cosine(z: Tensor, bias: Tensor) -> Tensor:
    """|cos(b, z_k)|, 0 where z_k is 0; the bias's own length cancels."""
    length = _norm(z, bias)
    cosines = _abs_dot(z, bias) / length
    return torch.where(length == 0, 0.0, cosines)


def _equal(z: Tensor, bias: Tensor) -> Tensor:
    """The same for every source."""
    return z.new_ones(z.shape[:-1])


def _first(z: Tensor, bias: Tensor) -> Tensor:
    """All to the first token."""
    return _one(z, 0)


def _token(z: Tensor, bias: Tensor) -> Tensor:
    """All to a further source that stands for the biases, the last one."""
    return _one(z, -1)


def _one(z: Tensor, source: int) -> Tensor:
    weights = z.new_zeros(z.shape[:-1])
    weights[..., source] = 1
    return weights


LINEAR = ("equal", "none", "first", "token")
"""Rules whose shares do not depend on the vectors: one backward pass serves them."""
RULES: dict[str, Weigh] = {
    "absdot": _abs_dot,
    "abssim": _abs_cosine,
    "norm": _norm,
    "equal": _equal,
    "first": _first,
    "token": _token,
}
