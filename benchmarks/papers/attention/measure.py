"""What each closed form says of a review, beside the exact limit of LIME."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier
from lrp_hooks.explainers.closed_form.lime import word_columns

from ...slalom.ranks import spearman

__all__ = ["FORMS", "by_word", "gradient", "lime", "related", "relations"]

Form = Callable[[AttentionClassifier, Tensor], Tensor]
FORMS: dict[str, Form] = {
    "attention, mean": closed_form.attention,
    "attention, max": partial(closed_form.attention, heads="max"),
    "gradient, mean": closed_form.gradient,
    "gradient, L1": partial(closed_form.gradient, kind="l1"),
    "gradient, L2": partial(closed_form.gradient, kind="l2"),
    "Gradient x Input": partial(closed_form.gradient, kind="input"),
    "Equation 19": closed_form.lime_approximation,
}
"""The explanations of the paper's first figure, but for LIME, and Equation 19."""


def relations(model: AttentionClassifier, ids: Tensor) -> dict[str, dict[str, float]]:
    """Compare each form with the exact limit of LIME, over a review's distinct words.

    A word that occurs often has the sum of its positions' scores, as LIME takes all of
    them away at once.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        By form: ``"rank"``, Spearman's correlation; ``"sign"``, the share of LIME's
        absolute score at words that have the same sign; ``"negative"``, the share of
        words with a score below 0.
    """
    columns, d = word_columns(ids)
    wanted = by_word(closed_form.lime_limit(model, ids), columns, d, each=True)
    found = {
        name: by_word(form(model, ids), columns, d, each=name == "Equation 19")
        for name, form in FORMS.items()
    }
    return related(wanted, found)


def related(wanted: Tensor, found: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Compare explanations with LIME.

    Args:
        wanted: LIME's scores of a review's distinct words, ``[d]``.
        found: ``{explanation: [d]}``.

    Returns:
        As `relations`; LIME is among them.
    """
    weights = wanted.abs() / wanted.abs().sum()
    return {
        name: {
            "rank": spearman(scores, wanted),
            "sign": float(weights[scores.sign() == wanted.sign()].sum()),
            "negative": float((scores < 0).double().mean()),
        }
        for name, scores in {"LIME": wanted, **found}.items()
    }


def lime(model: AttentionClassifier, ids: Tensor, plan: dict[str, Any]) -> Any:
    """Run LIME on one review, as the paper's large experiment does.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        plan: ``samples``, ``repetitions`` and ``seed``.

    Returns:
        The entries of `closed_form.QuantLime` for it.
    """
    found = closed_form.quant_lime(
        model,
        [ids],
        samples=plan["samples"],
        repetitions=plan["repetitions"],
        seed=plan["seed"],
    )
    return {name: float(value) for name, value in vars(found).items()}


def gradient(model: AttentionClassifier, ids: Tensor) -> dict[str, float]:
    """Compare the gradient's formula with autograd on one review.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        The entries of `closed_form.QuantGradient` for it.
    """
    found = closed_form.quant_gradient(model, [ids])
    return {name: float(value) for name, value in vars(found).items()}


def by_word(scores: Tensor, columns: Tensor, d: int, each: bool = False) -> Tensor:
    """Sum scores over each distinct word's positions.

    Args:
        scores: Of positions, ``[T]``.
        columns: Which distinct word stands at each, ``d`` for none, ``[T]``.
        d: The number of distinct words.
        each: Whether every position has the word's whole score already. Defaults to
            ``False``.

    Returns:
        ``[d]``.
    """
    total = torch.zeros(d + 1).double().index_add_(0, columns, scores.double())
    total = total[:d]
    return total / columns.bincount(minlength=d + 1)[:d] if each else total
