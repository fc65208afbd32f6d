"""The attention weights that a fused kernel does not show."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["attention_weights", "every_head"]


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(q k^T scale + mask), the weights inside a fused kernel.

    Args:
        query: ``[..., Q, D]``.
        key: ``[..., K, D]``; may have fewer heads.
        attn_mask: Added to the scores, or true where attention is allowed.
        dropout_p: Not used: maps are those of eval mode.
        is_causal: Whether a query sees no later key.
        scale: Of the scores. Defaults to 1/sqrt(D).
        enable_gqa: Not used: heads are repeated where there are fewer keys.

    Returns:
        ``[..., Q, K]``; 0 where a query sees no key.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query * scale @ every_head(key, query).transpose(-1, -2)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(~allowed.tril(), -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask  # noqa: PLR6104 (scores may be needed backward)
    return scores.softmax(-1).nan_to_num(0.0)


def every_head(shared: Tensor, like: Tensor) -> Tensor:
    """Repeat heads that several queries share.

    Args:
        shared: Keys or values, ``[..., H', K, D]``.
        like: What has all heads, ``[..., H, Q, D]``.

    Returns:
        ``[..., H, K, D]``.
    """
    groups = like.shape[-3] // shared.shape[-3] if shared.ndim > 3 else 1
    return shared if groups == 1 else shared.repeat_interleave(groups, -3)
