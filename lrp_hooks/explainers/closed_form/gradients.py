"""Attention and gradient: one glance at the document, and no backward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from .classifier import AttentionClassifier
from .heads import Reading, check_choice, factor, like_model, read, stacked

__all__ = ["attention", "gradient", "gradients"]

_HEADS = {
    "mean": lambda weights: weights.mean(0),
    "max": lambda weights: weights.amax(0),
}
_KINDS = {
    "mean": lambda grad, x: grad.mean(-1),
    "l1": lambda grad, x: grad.abs().sum(-1),
    "l2": lambda grad, x: grad.norm(dim=-1),
    "input": lambda grad, x: (grad * x).sum(-1),
}


def attention(model: AttentionClassifier, ids: Tensor, heads: str = "mean") -> Tensor:
    """Explain by the attention of the class token (alpha-avg and alpha-max).

    Args:
        model: The classifier.
        ids: One document ``[T]``: the class token, words, and padding.
        heads: ``"mean"`` over heads, or ``"max"``. Defaults to ``"mean"``.

    Returns:
        Scores ``[T]``, in the model's dtype.
    """
    check_choice("heads", heads, _HEADS)
    return like_model(_HEADS[heads](read(model, ids).attention), model)


def gradient(model: AttentionClassifier, ids: Tensor, kind: str = "mean") -> Tensor:
    """Explain by the gradient of class 1's logit for each embedding (Theorem 4.1).

    The published formula leaves out that the class token's own embedding makes the
    query; here it is complete, so it equals autograd at every position.

    Args:
        model: The classifier.
        ids: One document ``[T]``: the class token, words, and padding.
        kind: What each position's gradient is reduced to: the ``"mean"`` of its
            components, its ``"l1"`` or ``"l2"`` norm, or ``"input"``, its product with
            the embedding, position included (Gradient x Input). Defaults to ``"mean"``.

    Returns:
        Scores ``[T]``, in the model's dtype.
    """
    check_choice("kind", kind, _KINDS)
    reading = read(model, ids)
    return like_model(_KINDS[kind](gradients(model, reading), reading.x), model)


def gradients(
    model: AttentionClassifier, reading: Reading, through_query: bool = True
) -> Tensor:
    """Return the gradient of class 1's logit for each embedding.

    Theorem 4.1: alpha_t [W_v^T W_l + (W_l v_t - f) W_k^T q / sqrt(d_att)], the mean
    over heads; at the class token moreover what passes through the query,
    W_q^T sum_s alpha_s (W_l v_s - f) k_s / sqrt(d_att).

    Args:
        model: The classifier.
        reading: What its heads make of the document.
        through_query: Whether to add what passes through the query, which the
            published theorem leaves out. Defaults to ``True``.

    Returns:
        ``[T, D]`` in float64.
    """
    weights = reading.attention
    pulls = weights * (reading.outputs - reading.logits[:, None])  # d f / d score
    grads = weights.T @ reading.values + pulls.T @ reading.keys
    if not through_query:
        return grads / len(weights)
    key, query = stacked(model, "key"), stacked(model, "query")
    pulled = torch.einsum("ht,td,had->ha", pulls, reading.x, key) * factor(model)
    grads[0] += torch.einsum("ha,had->d", pulled, query)
    return grads / len(weights)
