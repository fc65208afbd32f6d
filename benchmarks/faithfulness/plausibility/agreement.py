"""How well scores of examples of any length find their rationales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrp_hooks.faithfulness import auprc, auroc, token_f1

from .methods import stack
from .record import summary

METRICS = {"auroc": auroc, "auprc": auprc, "token_f1": token_f1}
SIGNS = {"signed": torch.clone, "absolute": torch.abs}
Rationales = dict[str, Tensor]


def each(
    scores: Sequence[Tensor],
    rationales: Sequence[Rationales],
    masks: Sequence[Rationales] | None = None,
) -> dict[str, Tensor]:
    """Compare scores with every rationale, with their signs and without.

    Args:
        scores: ``[T]`` of each example.
        rationales: Boolean ``[T]`` by name, of each example; all have the same names.
        masks: What counts for a rationale, boolean ``[T]`` by its name, of each
            example. Defaults to ``None``: everything.

    Returns:
        ``[B]`` by ``"rationale, sign, metric"``.
    """
    everything = [torch.ones(len(row), dtype=torch.bool) for row in scores]
    found = {}
    for name in rationales[0]:
        marked = stack([names[name] for names in rationales])
        mask = stack(everything if masks is None else [names[name] for names in masks])
        for sign, change in SIGNS.items():
            values = change(stack(scores))
            for metric, compute in METRICS.items():
                found[f"{name}, {sign}, {metric}"] = compute(values, marked, mask)
    return found


def summaries(
    scores: Sequence[Tensor], rationales: Sequence[Rationales], confidence: float
) -> dict[str, dict[str, float]]:
    """Sum up what ``each`` finds, with intervals of this confidence."""
    found = each(scores, rationales)
    return {name: summary(values, confidence) for name, values in found.items()}
