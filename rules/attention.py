"""Attention: probabilities frozen (the AH-rule), shared (AttnLRP), or in between.

y_j = sum_i x_i p_ij with p constant (Ali et al. 2022, AH-rule), or with p taking a
share s of the product's relevance, half of which goes on to the query and half to the
key; s = 1/2 is the uniform rule of AttnLRP (Achtibat et al. 2024). Through the softmax
relevance passes as Gradient x Input, R_i = x_i (g_i p_i - p_i sum_k g_k p_k), which
absorbs some: the difference is a line of the ledger, at the query's position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine import (
    FunctionTable,
    ScopeRule,
    active_scope,
    carries,
    freeze,
    on_gradient,
    register,
    set_role,
    spellings,
    splice,
    split,
    table,
    watch_gate,
)
from ..errors import ArgumentError
from .structure import SHAPES, keeps_role

__all__ = ["Attention", "value_gradient"]

SOFTMAX = spellings("softmax _softmax safe_softmax _safe_softmax")
DOT_PRODUCT = spellings("", F.scaled_dot_product_attention)
_BLOCK = 1 << 19
"""How many probabilities the backward pass holds at a time."""


class Attention(ScopeRule):
    """R(v) = (1 - s) R(y), R(q) = R(k) = s/2 R(y) less what the softmax absorbs."""

    def __init__(self, query_key_share: float | None = 0.0) -> None:
        """Choose the share.

        Args:
            query_key_share: s, between 0 (frozen probabilities) and 0.5 (evenly split);
                None for the plain gradient, in rule sets whose products are plain too.

        Raises:
            ArgumentError: If it is out of range.
        """
        if query_key_share is not None and not 0 <= query_key_share <= 0.5:
            raise ArgumentError(
                f"query_key_share={query_key_share!r} must be a number from 0 (frozen "
                "attention) to 0.5 (split evenly), or None for the plain gradient."
            )
        self.query_key_share = query_key_share

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of softmax and of fused attention.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        if self.query_key_share is None:
            return table([*SOFTMAX, *DOT_PRODUCT], None)
        uneven = self.query_key_share not in {0.0, 0.5}
        return {
            **(table(SHAPES, keeps_role) if uneven else {}),
            **table(SOFTMAX, self._softmax),
            **table(DOT_PRODUCT, self._dot_product),
        }

    def _softmax(
        self, func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        if not self.query_key_share or not carries(x):
            out = func(freeze(x), *args, **kwargs)
            if carries(x):
                watch_gate(out, x, func.__name__)
            return out
        with torch.no_grad():
            p = func(x, *args, **kwargs)
        dim = args[0] if args else kwargs["dim"]
        absorb = _absorber(x)

        def backward(grad: Tensor, scores: Tensor, p: Tensor) -> Tensor:
            kept = (grad * p).sum(dim, keepdim=True)
            passed = p * (grad - kept)
            if absorb is not None:
                finite = torch.where(passed == 0, 0.0, passed * scores)
                absorb(kept.squeeze(dim) - finite.sum(dim))
            return passed.to(scores.dtype)

        out = splice(p, x, backward, x, keep_value=True)
        return set_role(out, float(self.query_key_share))

    def _dot_product(
        self,
        func: Callable[..., Any],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            out: Tensor = func(
                q,
                k,
                v,
                attn_mask=mask,
                dropout_p=dropout_p,
                is_causal=is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
            )
            return out

        if self.query_key_share:
            return _shared(self.query_key_share, fused, query, key, value, attn_mask)
        query, key = freeze(query), freeze(key)
        mask = freeze(attn_mask) if isinstance(attn_mask, Tensor) else None
        if dropout_p > 0 or not _blockable(query, key, value):
            return fused(query, key, value, mask)
        out = fused(query, key, value.detach(), mask)
        if not carries(value):
            return out
        kept = [query, key] if mask is None else [query, key, mask]

        def backward(
            grad: Tensor, q: Tensor, k: Tensor, mask: Tensor | None = None
        ) -> Tensor:
            return value_gradient(grad, q, k, _hiding(mask), is_causal, scale)

        return splice(out, value, backward, *kept)


def _absorber(scores: Tensor) -> Callable[[Tensor], None] | None:
    """Return what enters the relevance that a softmax absorbs, [..., queries]."""
    scope = active_scope()
    if scope is None or scope.collector is None:
        return None
    collector, name = scope.collector, scope.constants.name_source("softmax")
    share = collector.share_of(scores)  # heads may be spread over ranks
    share = share and share.summed()

    def absorb(terms: Tensor) -> None:
        batch, queries = collector.batch, terms.shape[-1]
        if terms.ndim > 1 and terms.shape[0] % batch == 0:
            terms = terms.reshape(batch, -1, queries).transpose(1, 2)
        collector.add(name, terms, share)

    return absorb


def _shared(
    share: float,
    fused: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """Weigh the gradients around the fused kernel: s/2 to q and k, 1 - s to v."""
    # What carries no relevance leaves its share to the others.
    live = carries(query) or carries(key) or carries(mask)
    share = share if carries(value) else 1.0
    both = 2 if carries(query) and carries(key) else 1
    query, key = (split(t, both / share) for t in (query, key))
    if isinstance(mask, Tensor):
        mask = split(mask, 1 / share)
    if live and carries(value):
        value = split(value, 1 / (1 - share))
    out = fused(query, key, value, mask)
    absorb = _absorber(out)
    if absorb is None or not live:
        return out
    # A copy, since the model may overwrite what attention returned.
    product, scores = out.detach().clone(), query if carries(query) else key
    on_gradient(out, lambda g: absorb(share * (g * product).sum(-1)))
    if carries(scores):
        values = scores.detach()
        on_gradient(scores, lambda g: absorb(-share * (g * values).sum(-1)))
    if isinstance(mask, Tensor) and carries(mask):
        bias = mask.detach()
        on_gradient(mask, lambda g: absorb(-share * (g * bias).sum((0, -1))[None]))
    return out


def _blockable(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Tell whether plain batched products on the CPU serve the backward pass."""
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
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Return P^T g, block by block over the queries, without keeping P.

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
    if not (query.numel() and key.numel()):
        return grad.new_zeros(*key.shape[:-1], grad.shape[-1])
    batch, groups, n_keys = key.shape[:3]
    scaled = query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    query, grad = (t.reshape(batch * groups, -1, *t.shape[2:]) for t in (scaled, grad))
    turned = key.reshape(batch * groups, n_keys, -1).transpose(1, 2)
    result = grad.new_zeros(batch * groups, n_keys, grad.shape[-1])
    block = max(16, _BLOCK // (query.shape[0] * query.shape[1] * n_keys))
    for start in range(0, query.shape[2], block):
        rows = slice(start, min(start + block, query.shape[2]))
        seen = min(rows.stop, n_keys) if is_causal else n_keys
        scores = torch.bmm(query[:, :, rows].flatten(1, 2), turned[:, :, :seen])
        _hide(scores.view(batch, -1, rows.stop - start, seen), mask, is_causal, rows)
        p = torch.softmax(scores, -1)
        if mask is not None:
            p.nan_to_num_(0.0)  # a query that sees no key
        result[:, :seen].baddbmm_(p.transpose(1, 2), grad[:, :, rows].flatten(1, 2))
    return result.view(batch, groups, n_keys, -1)


def _hiding(mask: Tensor | None) -> Tensor | None:
    """Return a mask that hides something, or None."""
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


register(nn.MultiheadAttention, family="attention")
