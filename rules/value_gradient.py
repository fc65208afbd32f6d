"""The backward pass of frozen attention: P^T g in blocks, P computed again in each.

    dL/dv_i = sum_j p_ij dL/dy_j,    p_j = softmax(q_j K^T / sqrt(D) + mask_j)

Softmax goes over the keys, so a block has all keys of some queries. It has few heads
rather than few queries: a product of few rows costs more than its arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["has_blocks", "hiding", "value_gradient"]

_BLOCK = 1 << 19
"""How many probabilities are held at a time."""
_MANY, _FEW = 256, 64
"""The queries of a block where heads can make room for them, and where not."""


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
        and groups > 0
        and heads % groups == 0
    )


def value_gradient(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return P^T g without keeping P.

    Args:
        grad: g, the gradient for attention's output, [B, H, Q, E] or [B, Q, E].
        query: [B, H, Q, D] or [B, Q, D].
        key: [B, G, K, D] with G groups of heads, H a multiple of G; or [B, K, D].
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
        return value_gradient(grad, query, key, lifted, is_causal, scale).squeeze(1)
    result = grad.new_zeros(*key.shape[:-1], grad.shape[-1])
    if not (query.numel() and key.numel()):
        return result
    scaled = query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    (batch, n_groups), per_group = key.shape[:2], query.shape[1] // key.shape[1]
    size = per_group * min(query.shape[2], _MANY) * key.shape[2]
    fit = max(1, _BLOCK // size)
    if fit >= batch * n_groups:
        _add_portion(result, grad, scaled, key, mask, is_causal)
        return result
    for examples, groups in _portions(batch, n_groups, fit):
        heads = slice(groups.start * per_group, groups.stop * per_group)
        _add_portion(
            result[examples, groups],
            grad[examples, heads],
            scaled[examples, heads],
            key[examples, groups],
            _of_heads(mask, examples, heads),
            is_causal,
        )
    return result


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


def _add_portion(
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
        mask: See `value_gradient`.
        is_causal: See `value_gradient`.
    """
    batch, groups, n_keys = key.shape[:3]
    query, grad = (t.reshape(batch * groups, -1, *t.shape[2:]) for t in (query, grad))
    turned = key.reshape(batch * groups, n_keys, -1).transpose(1, 2)
    result = result.view(batch * groups, n_keys, -1)
    block = max(_FEW, _BLOCK // (query.shape[0] * query.shape[1] * n_keys))
    for start in range(0, query.shape[2], block):
        rows = slice(start, min(start + block, query.shape[2]))
        seen = min(rows.stop, n_keys) if is_causal else n_keys
        scores = torch.bmm(query[:, :, rows].flatten(1, 2), turned[:, :, :seen])
        _hide(scores.view(batch, -1, rows.stop - start, seen), mask, is_causal, rows)
        p = torch.softmax(scores, -1)
        if mask is not None:
            p.nan_to_num_(0.0)  # a query that sees no key
        result[:, :seen].baddbmm_(p.transpose(1, 2), grad[:, :, rows].flatten(1, 2))


def hiding(mask: Tensor | None) -> Tensor | None:
    """Return a mask that hides something, or None.

    Args:
        mask: True where attention is allowed, or what is added to the scores.

    Returns:
        The mask, unless it is True everywhere.
    """
    idle = mask is not None and mask.dtype == torch.bool and bool(mask.all())
    return None if idle else mask


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
