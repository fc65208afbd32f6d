"""What tests of closed forms share: models, documents, and the paper spelled out."""

from __future__ import annotations

import json
import math
from functools import cache, partial

import torch
from torch import Tensor

from folders import DATA
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier

ALL = {
    "attention": closed_form.attention,
    "gradient": closed_form.gradient,
    "lime_limit": closed_form.lime_limit,
    "lime_approximation": closed_form.lime_approximation,
}


@cache
def stored(name: str) -> dict:
    path = DATA / "attention_posthoc" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def published(dtype=torch.float32) -> AttentionClassifier:
    """The golden model; its state dict loads as it is."""
    model = AttentionClassifier(14, 4, 16, 8, 24)
    state = {k: torch.tensor(v) for k, v in stored("classifier")["state_dict"].items()}
    model.load_state_dict(state)
    return model.to(dtype)


def published_ids() -> Tensor:
    return torch.tensor(stored("classifier")["input_ids"])


def drawn(seed=0, n_heads=2, width=8, inner=4, length=12, scale=0.5, dtype=None):
    """A classifier with normal weights, in float64 by default."""
    with torch.random.fork_rng():
        model = AttentionClassifier(12, n_heads, width, inner, length)
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data.normal_(std=scale, generator=generator)
    return model.to(dtype or torch.float64)


IDS = torch.tensor([0, 2, 3, 4, 2, 1, 5, 6, 7, 3, 1, 1])


def document(seed: int, words: int, length: int) -> Tensor:
    """Words, some of them twice, shuffled among unknown tokens."""
    generator = torch.Generator().manual_seed(seed)
    distinct = torch.randperm(10, generator=generator)[:words] + 2
    again = distinct[: max(0, min(2, length - 1 - words))]
    padding = torch.ones(length - 1 - words - len(again), dtype=torch.int64)
    rest = torch.cat([distinct, again, padding])
    shuffled = rest[torch.randperm(length - 1, generator=generator)]
    return torch.cat([torch.zeros(1, dtype=torch.int64), shuffled])


def spelled_out(model: AttentionClassifier, x: Tensor) -> Tensor:
    """The paper's equations, one position at a time, from embeddings ``[T, D]``."""
    logits = []
    for head in model.heads:
        query = head.query.weight @ x[0]
        keys = [head.key.weight @ token for token in x]
        scores = torch.stack([query @ key for key in keys]) / math.sqrt(len(query))
        powers = torch.exp(scores - scores.max())
        mixed = sum(
            power / powers.sum() * (head.value.weight @ token)
            for power, token in zip(powers, x, strict=True)
        )
        logits.append(head.classifier.weight @ mixed)
    return sum(logits) / len(logits)


exact = partial(torch.tensor, dtype=torch.float64)


def tailored(heads: list[dict]) -> tuple[AttentionClassifier, Tensor]:
    """A classifier whose heads are given ratios, and the document of all words.

    Words and positions are unit vectors, so a key or value weight is a table: a
    position's entry is that of the unknown token there, a word's is what it adds.
    """
    length = len(heads[0]["aN"]) + 1
    model = AttentionClassifier(length + 1, len(heads), 2 * length + 1, 1, length)
    model = model.double().requires_grad_(False)
    model.embedding.weight.copy_(torch.eye(length + 1, 2 * length + 1))
    model.positions.copy_(torch.eye(2 * length + 1)[length + 1 :])
    for head, ratio in zip(model.heads, heads, strict=True):
        below = exact([ratio["D0"], *ratio["bD"]])
        above = exact([ratio["N0"], *ratio["bN"]])
        kept_below, kept_above = (exact(ratio[n]) for n in ("aD", "aN"))
        words = torch.zeros(2, length + 1).double()
        words[0, 2:] = kept_below.log() - below.log()[1:]
        words[1, 2:] = kept_above / kept_below - (above / below)[1:]
        head.query.weight.zero_()[0, 0] = 1.0
        head.key.weight.copy_(torch.cat([words[:1], below.log()[None]], 1))
        head.value.weight.copy_(torch.cat([words[1:], (above / below)[None]], 1))
        head.classifier.weight.copy_(torch.tensor([[0.0], [1.0]]))
    return model, torch.tensor([0, *range(2, length + 1)])
