"""The backward pass of frozen attention where only scores can be had again.

    dL/dv_i = sum_j p_ij dL/dy_j,    p_j = softmax(q_j K^T + mask_j)

Softmax goes over the keys, so a block has all keys of some queries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["BLOCK", "add_query_blocks"]

BLOCK = 1 << 19
"""How many probabilities are held at a time."""
_FEW = 64
"""The queries of a block that has more keys than that."""


def add_query_blocks(
    result: Tensor,
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    is_causal: bool,
) -> None:
    """Add P^T g for some examples and heads, block by block over the queries.

    Args:
        result: [B, G, K, E], what is added to.
        grad: [B, H, Q, E].
        query: [B, H, Q, D], scaled.
        key: [B, G, K, D].
        mask: Added to the scores, or True where attention is allowed; broadcasts to
            [B, H, Q, K].
        is_causal: Whether a query sees no later key.
    """
    batch, groups, n_keys = key.shape[:3]
    query, grad = (t.reshape(batch * groups, -1, *t.shape[2:]) for t in (query, grad))
    turned = key.reshape(batch * groups, n_keys, -1).transpose(1, 2)
    result = result.view(batch * groups, n_keys, -1)
    block = max(_FEW, BLOCK // (query.shape[0] * query.shape[1] * n_keys))
    for start in range(0, query.shape[2], block):
        rows = slice(start, min(start + block, query.shape[2]))
        seen = min(rows.stop, n_keys) if is_causal else n_keys
        scores = torch.bmm(query[:, :, rows].flatten(1, 2), turned[:, :, :seen])
        _hide(scores.view(batch, -1, rows.stop - start, seen), mask, is_causal, rows)
        p = torch.softmax(scores, -1)
        if mask is not None:
            p.nan_to_num_(0.0)  # a query that sees no key
        result[:, :seen].baddbmm_(p.transpose(1, 2), grad[:, :, rows].flatten(1, 2))


def _hide(scores: Tensor, mask: Tensor | None, is_causal: bool, rows: slice) -> None:
    """Apply the mask and causality to the scores of a block of queries, in place."""
    seen = scores.shape[-1]
    if mask is not None:
        part = mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., rows, :]
        part = part if part.shape[-1] == 1 else part[..., :seen]
        if mask.dtype == torch.bool:
            scores.masked_fill_(~part, -math.inf)
        else:
            scores += part
    if is_causal and rows.start < seen:
        # Keys before the first query of the block are seen by all of them.
        last = scores[..., rows.start :]
        later = torch.ones(last.shape[-2:], dtype=torch.bool, device=scores.device)
        last.masked_fill_(later.triu_(1), -math.inf)
