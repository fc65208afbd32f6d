"""Methods that score the sources of an answer, and how often each runs the model."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from captum.attr import LayerIntegratedGradients
from lrp_hooks.rules import Attention
from torch import Tensor, nn

from lrp_hooks import RuleSet, explain_answer

from .case import Case

__all__ = ["COMPARED", "HOPS", "METHODS", "SLOW", "available"]

Scored = tuple[Tensor, float]
"""Scores [S], and the cost in forward passes (a backward pass counts as two)."""
SHARE, LESS = (
    RuleSet.named("conservative").override(attention=Attention(share))
    for share in (0.25, 0.125)
)


def relevance(case: Case, **options: Any) -> Scored:
    """Score by relevance."""
    found = explain_answer(*case.asked, **case.named, **options)
    passes = 2 * found.meta["backward_passes"]
    if found.meta["wrt"] == "cache":  # the answer's tokens alone run with a graph
        passes = (1 + passes) * (case.reading.count + 1) / len(case.reading.ids)
    return found.scores[0], 1 + passes


def by_forward(case: Case, method: str, calls: int = 2) -> Scored:
    """Score by ablations."""
    found = explain_answer(*case.asked, **case.named, method=method, calls=calls)
    return found.scores[0], found.meta["calls"]


@contextmanager
def eager(model: nn.Module) -> Generator[None, None, None]:
    """Let a model return its attention weights."""
    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(kept)


def attention(case: Case) -> Scored:
    """Score by attention from where the word is written, the mean of all heads."""
    with torch.no_grad(), eager(case.model):
        out = case.model(case.ids[:, :-1], output_attentions=True)
    first = case.first_of_span - 1
    weights = torch.stack([a[0, :, first:].mean((0, 1)) for a in out.attentions])
    return case.by_source(weights.mean(0)), 1.0


def flashtrace(case: Case, **options: Any) -> Scored:
    """Score by FlashTrace (Pan et al. 2026), from its package."""
    from flashtrace import FlashTrace

    own = case.inside[0].nonzero()[:, 0].tolist()
    opening = case.tokenizer.decode(case.tokenizer("").input_ids)  # it adds none itself
    with eager(case.model):
        tracer = FlashTrace(case.model, case.tokenizer)
        found = tracer.trace(
            prompt=opening + case.item.prompt,
            target=case.item.answer,
            output_span=(own[0], own[-1]),
            **options,
        )
    return case.by_source(torch.tensor(found.scores)), 1.0


def integrated_gradients(case: Case, steps: int = 20) -> Scored:
    """Score by integrated gradients of the log-probability, from end-of-text tokens."""
    own = case.inside[0].nonzero()[:, 0] + case.reading.start

    def log_probability(ids: Tensor) -> Tensor:
        chances = case.model(ids[:, :-1]).logits[:, own - 1].log_softmax(2)
        return chances.gather(2, ids[:, own, None]).sum((1, 2))

    embeddings = case.model.get_input_embeddings()
    found = LayerIntegratedGradients(log_probability, embeddings).attribute(
        case.ids,
        baselines=torch.full_like(case.ids, case.tokenizer.eos_token_id),
        n_steps=steps,
        internal_batch_size=1,
    )
    return case.by_source(found[0].sum(1).detach()), 3.0 * steps


def _ours(rules: str | RuleSet, target: str, hops: int = 0) -> Callable[[Case], Scored]:
    return partial(relevance, rules=rules, target=target, hops=hops)


def _at_cache(rules: str | RuleSet) -> Callable[[Case], Scored]:
    return partial(relevance, rules=rules, target="log_probability", wrt="cache")


METHODS: dict[str, Callable[[Case], Scored]] = {
    "share .25, log-probability": _ours(SHARE, "log_probability"),
    "share .125, log-probability": _ours(LESS, "log_probability"),
    "attnlrp, log-probability": _ours("attnlrp", "log_probability"),
    "conservative, log-probability": _ours("conservative", "log_probability"),
    "conservative, log-probability, cache": _at_cache("conservative"),
    "share .25, log-probability, cache": _at_cache(SHARE),
    "attnlrp, log-probability, cache": _at_cache("attnlrp"),
    "attnlrp, logit": _ours("attnlrp", "logit"),
    "conservative, logit": _ours("conservative", "logit"),
    "share .25, 1 hop": _ours(SHARE, "log_probability", 1),
    "share .25, 2 hops": _ours(SHARE, "log_probability", 2),
    "attnlrp, 1 hop": _ours("attnlrp", "log_probability", 1),
    "conservative, 2 hops": _ours("conservative", "log_probability", 2),
    "Gradient x Input": _ours("gradient", "log_probability"),
    "integrated gradients, 20 steps": integrated_gradients,
    "attention": attention,
    "FlashTrace": partial(flashtrace, hops=1),
    "FlashTrace, span": partial(flashtrace, method="ifr-span"),
    "ablation, 16 calls": partial(by_forward, method="ablation", calls=16),
    "ablation, 32 calls": partial(by_forward, method="ablation", calls=32),
    "ablation, 64 calls": partial(by_forward, method="ablation", calls=64),
    "ablation, 128 calls": partial(by_forward, method="ablation", calls=128),
    "leave one out": partial(by_forward, method="leave_one_out"),
}
HOPS = tuple(name for name in METHODS if "hop" in name)
"""Methods for answers that say something before the word that is explained."""
COMPARED = (
    "share .25, log-probability",
    "attnlrp, log-probability",
    "conservative, log-probability",
    "conservative, log-probability, cache",
    "share .25, log-probability, cache",
    "attnlrp, log-probability, cache",
    "FlashTrace",
    "FlashTrace, span",
    "ablation, 32 calls",
    "leave one out",
)
"""Methods that many prompts tell apart."""
SLOW = tuple(
    name
    for name in METHODS
    if name.startswith(("integrated", "ablation")) and name != "ablation, 32 calls"
)
"""Methods of many passes, which the first prompts of a task are enough for."""


def available() -> list[str]:
    """Return the methods whose packages are installed."""
    missing = find_spec("flashtrace") is None
    return [name for name in METHODS if not (missing and "FlashTrace" in name)]
