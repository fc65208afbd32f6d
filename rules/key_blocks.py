"""The backward pass of frozen attention from a log-sum-exp that was kept.

    dL/dv_i = sum_j p_ij dL/dy_j,    p_ij = exp(k_i q_j + mask_ij - l_j)

With l_j known a probability needs no other key (FlashAttention, Dao et al. 2022), so a
block is as small as a cache, and one that a causal mask hides is skipped. The scores
have l as one more dimension: [k_i, 1] [q_j, -l_j].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["LONG", "SIDE", "add_key_blocks", "is_precise"]

LONG = 512
"""How many keys some queries must have for that to be cheaper than another softmax."""
SIDE = 384
"""How many keys and queries a block has, for a cache of half a mebibyte."""
_LOST = 1e-4
"""The relative error of a probability that rounding l may make."""


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


def add_key_blocks(
    result: Tensor,
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    is_causal: bool,
) -> None:
    """Add P^T g for some examples and heads, block by block over keys and queries.

    Args:
        result: [B, G, K, E], what is added to.
        grad: g, [B, H, Q, E], H a multiple of G.
        query: [B, H, Q, D], scaled.
        key: [B, G, K, D].
        lse: l, [B, H, Q], in the dtype that is computed in.
        mask: Added to the scores, or True where attention is allowed; broadcasts to
            [B, H, Q, K].
        is_causal: Whether a query sees no later key.
    """
    per_group = query.shape[1] // key.shape[1]
    keys = torch.cat([key.to(lse), lse.new_ones(*key.shape[:-1], 1)], -1).flatten(0, 1)
    lse = torch.where(lse.isinf(), math.inf, lse)  # a query that sees no key
    turned = None if mask is None else _four(mask).transpose(-1, -2)
    for head in range(per_group):
        own = slice(head, None, per_group)
        queries = torch.cat([query[:, own].to(lse), -lse[:, own, :, None]], -1)
        part = turned if turned is None or turned.shape[1] == 1 else turned[:, own]
        sides = keys, queries.flatten(0, 1), grad[:, own].to(lse).flatten(0, 1)
        _add_head(result, *sides, part, is_causal)


def _add_head(
    result: Tensor,
    keys: Tensor,
    queries: Tensor,
    grad: Tensor,
    mask: Tensor | None,
    is_causal: bool,
) -> None:
    """Add what one head of each group passes on.

    Args:
        result: [B, G, K, E], what is added to.
        keys: [B * G, K, D + 1].
        queries: [B * G, Q, D + 1].
        grad: [B * G, Q, E].
        mask: As for `add_key_blocks`, its last two dimensions turned.
        is_causal: Whether a query sees no later key.
    """
    total = result.view(-1, *result.shape[2:])
    for k in range(0, keys.shape[1], SIDE):
        rows = slice(k, min(k + SIDE, keys.shape[1]))
        for q in range(k if is_causal else 0, queries.shape[1], SIDE):
            columns = slice(q, min(q + SIDE, queries.shape[1]))
            p = torch.bmm(keys[:, rows], queries[:, columns].transpose(1, 2))
            if mask is None:
                p.exp_()
            else:
                _masked(p.view(*result.shape[:2], *p.shape[1:]), mask, rows, columns)
            if is_causal and q == k:
                p.triu_()
            total[:, rows].baddbmm_(p, grad[:, columns])


def _masked(scores: Tensor, mask: Tensor, rows: slice, columns: slice) -> None:
    """Turn scores into probabilities in place, but for what a mask hides."""
    mask = mask if mask.shape[-2] == 1 else mask[..., rows, :]
    mask = mask if mask.shape[-1] == 1 else mask[..., columns]
    if mask.dtype == torch.bool:
        scores.exp_().masked_fill_(~mask, 0.0)  # in this order: exp may overflow
    else:
        scores.add_(mask).exp_()


def _four(mask: Tensor) -> Tensor:
    """Give a mask all four dimensions."""
    return mask.view(*(1,) * (4 - mask.ndim), *mask.shape)
