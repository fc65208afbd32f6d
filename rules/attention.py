"""Attention: probabilities frozen (the AH-rule), shared (AttnLRP), or in between.

y_j = sum_i x_i p_ij with p constant (Ali et al. 2022, AH-rule), or with p taking a
share s of the product's relevance, half of which goes on to the query and half to the
key; s = 1/2 is the uniform rule of AttnLRP (Achtibat et al. 2024). Through the softmax
relevance passes as Gradient x Input, R_i = x_i (g_i p_i - p_i sum_k g_k p_k), which
absorbs some: the difference is a line of the ledger, at the query's position.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
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
from .centring import present
from .structure import SHAPES, keeps_role
from .turned_attention import (
    LONG,
    NoKernel,
    is_precise,
    turned_attention,
    with_log_sum_exp,
)
from .value_gradient import has_blocks, hiding, value_gradient

__all__ = ["Attention"]

SOFTMAX = spellings("softmax _softmax safe_softmax _safe_softmax")
DOT_PRODUCT = spellings("", F.scaled_dot_product_attention)


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
        alone = dropout_p == 0 and has_blocks(query, key, value)
        if not (alone and carries(value)):
            return fused(query, key, value, mask)
        return _frozen(fused, query, key, value, mask, is_causal, scale)


def _frozen(
    fused: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """Attend with constant probabilities: the backward pass is for values alone."""

    def attend(values: Tensor) -> Tensor:
        return fused(query, key, values, mask)

    if key.shape[-2] < LONG:
        out, lse = attend(value.detach()), None
    else:
        out, lse = with_log_sum_exp(attend, value)
    given = lse is not None, mask is not None

    def backward(grad: Tensor, q: Tensor, k: Tensor, *rest: Tensor) -> Tensor:
        others = iter(rest)
        sums, hidden = (next(others) if there else None for there in given)
        how = hiding(hidden), is_causal, scale
        if sums is not None and is_precise(sums):
            with suppress(NoKernel):
                return turned_attention(grad, q, k, sums, *how)
        return value_gradient(grad, q, k, *how)

    return splice(out, value, backward, query, key, *present(lse, mask))


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


register(nn.MultiheadAttention, family="attention")
