"""The backward pass of frozen attention, as the attention of keys to queries.

    dL/dv_i = sum_j p_ij g_j,    p_ij = exp(k_i q_j + m_ij - l_j)

with l_j, the log-sum-exp over the keys, which fused kernels keep (Dao et al. 2022,
FlashAttention, section 3.1). It is one more dimension of the product, and then only
who is a query and who is a key has changed places:

    s_ij = [k_i, 1] [q_j, -l_j] + m_ij,    dL/dv_i = e^{l'_i} sum_j softmax_j(s_ij) g_j

with l'_i the log-sum-exp of s_ij over the queries: one call of the kernel that the
forward pass took, where autograd's own needs five products instead of two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine import saved_unseen

__all__ = ["LONG", "NoKernel", "is_precise", "turned_attention", "with_log_sum_exp"]

LONG = 256
"""How many keys there must be for a fused kernel to be cheaper than a softmax."""
_LOST = 1e-4
"""The relative error of a probability that rounding l may make."""
_NOTHING = 1e30
"""l of a query that sees no key."""


class NoKernel(Exception):  # noqa: N818 - a case, and no error
    """No fused kernel serves, so that there is no log-sum-exp."""


def with_log_sum_exp(
    attend: Callable[[Tensor], Tensor], value: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Run attention, and take what its kernel keeps for its own backward pass.

    Args:
        attend: Attention to values.
        value: The values, [B, G, K, E].

    Returns:
        The output without a graph, and the log-sum-exp of the scores, [B, H, Q]; None
        where attention is made of several functions.
    """
    with torch.enable_grad(), saved_unseen():
        out = attend(value.detach().requires_grad_())
    return out.detach(), getattr(out.grad_fn, "_saved_logsumexp", None)


def is_precise(lse: Tensor) -> bool:
    """Tell whether probabilities can be had from a log-sum-exp.

    Where a mask hides all keys by a huge number, l is that number and nothing else.

    Args:
        lse: l, of any shape; infinite where a query sees no key.

    Returns:
        False if it is so large that what distinguishes keys is rounded away.
    """
    seen = torch.where(lse.isinf(), 0.0, lse)
    # Not a number fails this, too.
    return bool(seen.abs().amax() < _LOST / torch.finfo(lse.dtype).eps)


def turned_attention(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    lse: Tensor,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return P^T g without keeping P.

    Args:
        grad: g, the gradient for attention's output, [B, H, Q, D].
        query: [B, H, Q, D].
        key: [B, G, K, D] with G groups of heads, H a multiple of G.
        lse: l, [B, H, Q], in the dtype that is computed in; see `is_precise`.
        mask: Added to the scores, or True where attention is allowed; broadcasts to
            [B, H, Q, K].
        is_causal: Whether a query sees no later key.
        scale: Of the scores; 1/sqrt(D) by default.

    Returns:
        The gradient for the values, [B, G, K, D]. `NoKernel` is raised where that of
        the forward pass is not to be had any more.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    lse = torch.where(lse.isinf(), _NOTHING, lse)
    turned = None if mask is None else _turned(mask, lse.dtype)
    result = grad.new_empty(*key.shape[:-1], grad.shape[-1])
    for one in range(len(grad)):  # one by one, so that what is made meanwhile is small
        rows = slice(one, one + 1)
        keys = _beside(key[rows].to(lse), lse.new_ones(1))
        queries = _beside(query[rows].to(lse) * scale, -lse[rows, ..., None])
        part = turned if turned is None or len(turned) == 1 else turned[rows]
        sides = keys, queries, F.pad(grad[rows].to(lse), (0, 1))
        result[rows] = _by_head(*sides, part, is_causal)[..., :-1]
    return result


def _beside(values: Tensor, column: Tensor) -> Tensor:
    """Append a column to the last dimension."""
    return torch.cat([values, column.expand(*values.shape[:-1], 1)], -1)


def _by_head(
    keys: Tensor, queries: Tensor, grad: Tensor, mask: Tensor | None, is_causal: bool
) -> Tensor:
    """Sum what the heads of each group pass on.

    Args:
        keys: [1, G, K, D + 1].
        queries: [1, H, Q, D + 1].
        grad: [1, H, Q, D + 1].
        mask: [1, H, K, Q], or what broadcasts to that.
        is_causal: Whether a query sees no later key.

    Returns:
        [1, G, K, D + 1].
    """
    per_group = queries.shape[1] // keys.shape[1]
    total = torch.zeros_like(keys)
    for head in range(per_group):
        own = slice(head, None, per_group)
        part = mask if mask is None or mask.shape[1] == 1 else mask[:, own]
        passed = _causal if is_causal else _attended
        total += passed(keys, queries[:, own], grad[:, own], part)
    return total


def _turned(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Give a mask four dimensions, the keys ahead of the queries."""
    mask = mask.view(*(1,) * (4 - mask.ndim), *mask.shape).transpose(-1, -2)
    return mask if mask.dtype == torch.bool else mask.to(dtype)


def _causal(keys: Tensor, queries: Tensor, grad: Tensor, mask: Tensor | None) -> Tensor:
    """Return what heads pass on whose queries see no later key, a head a group."""
    both = min(keys.shape[2], queries.shape[2])
    # From behind, what comes later is what came earlier: causal again.
    k, q, g = (t[:, :, :both].flip(2) for t in (keys, queries, grad))
    found = _attended(k, q, g, mask, is_causal=True).flip(2)
    found = F.pad(found, (0, 0, 0, keys.shape[2] - both))
    if queries.shape[2] == both:
        return found
    return found + _attended(keys, queries[:, :, both:], grad[:, :, both:], mask)


def _attended(
    keys: Tensor,
    queries: Tensor,
    grad: Tensor,
    mask: Tensor | None,
    is_causal: bool = False,
) -> Tensor:
    """Let keys attend to queries, a head a group, without the softmax's denominator."""

    def attend(values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            keys, queries, values, attn_mask=mask, is_causal=is_causal, scale=1.0
        )

    out, sums = with_log_sum_exp(attend, grad)
    if sums is None:
        raise NoKernel
    return out * sums.exp().unsqueeze(-1)
