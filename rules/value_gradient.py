"""The backward pass of frozen attention: P^T g in blocks, P computed again in each.

    dL/dv_i = sum_j p_ij dL/dy_j,    p_j = softmax(q_j K^T / sqrt(D) + mask_j)

A block has few heads rather than few queries: a product of few rows costs more than its
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .key_blocks import SIDE, add_key_blocks, is_precise
from .query_blocks import BLOCK, add_query_blocks

__all__ = ["has_blocks", "hiding", "value_gradient"]

_MANY = 256
"""The queries of a block where heads can make room for them."""


def has_blocks(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Tell whether `value_gradient` serves: plain batched products on the CPU.

    Args:
        query: [B, H, Q, D] or [B, Q, D], or what is refused.
        key: As `value_gradient` takes it, or what is refused.
        value: In the layout of ``key``.

    Returns:
        False for accelerators, nested tensors, and batches that broadcast.
    """
    heads = 1 if query.ndim < 4 else query.shape[-3]
    groups = 1 if key.ndim < 4 else key.shape[-3]
    return (
        query.device.type == "cpu"
        and not query.is_nested
        and 3 <= query.ndim == key.ndim == value.ndim <= 4
        and query.shape[0] == key.shape[0] == value.shape[0]
        and key.shape[:-1] == value.shape[:-1]
        and heads % groups == 0
    )


def value_gradient(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    lse: Tensor | None = None,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return P^T g without keeping P.

    Args:
        grad: g, the gradient for attention's output, [B, H, Q, E] or [B, Q, E].
        query: [B, H, Q, D] or [B, Q, D].
        key: [B, G, K, D] with G groups of heads, H a multiple of G; or [B, K, D].
        lse: The scores' log-sum-exp over the keys, [B, H, Q], where it was kept.
        mask: Added to the scores, or True where attention is allowed; broadcasts to
            [B, H, Q, K].
        is_causal: Whether a query sees no later key.
        scale: Of the scores; 1/sqrt(D) by default.

    Returns:
        The gradient for the values, [B, G, K, E] or [B, K, E].
    """
    if query.ndim == 3:
        lifted = mask.unsqueeze(1) if mask is not None and mask.ndim == 3 else mask
        grad, query, key = (t.unsqueeze(1) for t in (grad, query, key))
        given = (grad, query, key, None, lifted, is_causal, scale)
        return value_gradient(*given).squeeze(1)
    if lse is not None and not is_precise(lse):
        lse = None
    result = (grad if lse is None else lse).new_zeros(*key.shape[:-1], grad.shape[-1])
    if not (query.numel() and key.numel()):
        return result.to(grad.dtype)
    scaled = query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    (batch, n_groups), per_group = key.shape[:2], query.shape[1] // key.shape[1]
    for examples, groups in _portions(batch, n_groups, _room(query, key, lse)):
        heads = slice(groups.start * per_group, groups.stop * per_group)
        part = (grad[examples, heads], scaled[examples, heads], key[examples, groups])
        seen = _of_heads(mask, examples, heads), is_causal
        if lse is None:
            add_query_blocks(result[examples, groups], *part, *seen)
        else:
            own = lse[examples, heads]
            add_key_blocks(result[examples, groups], *part, own, *seen)
    return result.to(grad.dtype)


def _room(query: Tensor, key: Tensor, lse: Tensor | None) -> int:
    """Return how many groups of heads a block has room for, at least one."""
    queries, keys = query.shape[2], key.shape[2]
    if lse is not None:
        return max(1, SIDE * SIDE // (min(queries, SIDE) * min(keys, SIDE)))
    per_group = query.shape[1] // key.shape[1]
    return max(1, BLOCK // (per_group * min(queries, _MANY) * keys))


def _portions(batch: int, groups: int, fit: int) -> Iterator[tuple[slice, slice]]:
    """Cut examples and groups of heads into portions of at most ``fit`` groups."""
    examples, some = max(1, fit // groups), min(fit, groups)
    for example in range(0, batch, examples):
        for group in range(0, groups, some):
            yield (
                slice(example, min(example + examples, batch)),
                slice(group, min(group + some, groups)),
            )


def _of_heads(mask: Tensor | None, examples: slice, heads: slice) -> Tensor | None:
    """Return the part of a mask that is for these examples and heads."""
    if mask is None:
        return None
    for part, dim in ((examples, -4), (heads, -3)):
        if mask.ndim >= -dim and mask.shape[dim] > 1:
            mask = mask.narrow(dim, part.start, part.stop - part.start)
    return mask


def hiding(mask: Tensor | None) -> Tensor | None:
    """Return a mask that hides something, or None.

    Args:
        mask: True where attention is allowed, or what is added to the scores.

    Returns:
        The mask, unless it is True everywhere.
    """
    idle = mask is not None and mask.dtype == torch.bool and bool(mask.all())
    return None if idle else mask
