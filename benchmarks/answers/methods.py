"""Methods that score the sources of an answer, and how often each runs the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lrp_hooks.rules import Attention
from torch import Tensor

from lrp_hooks import RuleSet, explain_answer

from .case import Case

__all__ = ["METHODS"]

Scored = tuple[Tensor, float]
"""Scores [S], and the cost in forward passes (a backward pass counts as two)."""
SHARE = RuleSet.named("conservative").override(attention=Attention(0.25))


def relevance(case: Case, **options: Any) -> Scored:
    """Score by relevance."""
    found = explain_answer(*case.asked, **case.named, **options)
    return found.scores[0], 1 + 2 * found.meta["backward_passes"]


def by_forward(case: Case, method: str, calls: int = 2) -> Scored:
    """Score by ablations."""
    found = explain_answer(*case.asked, **case.named, method=method, calls=calls)
    return found.scores[0], found.meta["calls"]


def attention(case: Case) -> Scored:
    """Score by attention from where the word is written, the mean of all heads."""
    model = case.model
    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            out = model(case.ids[:, :-1], output_attentions=True)
    finally:
        model.set_attn_implementation(kept)
    first = case.first_of_span - 1
    weights = torch.stack([a[0, :, first:].mean((0, 1)) for a in out.attentions])
    return case.by_source(weights.mean(0)), 1.0


def _ours(rules: str | RuleSet, target: str, hops: int = 0) -> Callable[[Case], Scored]:
    return partial(relevance, rules=rules, target=target, hops=hops)


METHODS: dict[str, Callable[[Case], Scored]] = {
    "attnlrp, log-probability": _ours("attnlrp", "log_probability"),
    "share .25, log-probability": _ours(SHARE, "log_probability"),
    "conservative, log-probability": _ours("conservative", "log_probability"),
    "attnlrp, logit": _ours("attnlrp", "logit"),
    "conservative, logit": _ours("conservative", "logit"),
    "attnlrp, 1 hop": _ours("attnlrp", "log_probability", 1),
    "attnlrp, 2 hops": _ours("attnlrp", "log_probability", 2),
    "conservative, 2 hops": _ours("conservative", "log_probability", 2),
    "Gradient x Input": _ours("gradient", "log_probability"),
    "attention": attention,
    "ablation, 16 calls": partial(by_forward, method="ablation", calls=16),
    "ablation, 32 calls": partial(by_forward, method="ablation", calls=32),
    "ablation, 64 calls": partial(by_forward, method="ablation", calls=64),
    "leave one out": partial(by_forward, method="leave_one_out"),
}
