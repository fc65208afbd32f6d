"""Prediction performance: what a new model learns from the tokens a method chose.

After Jain et al. 2020, as the paper has it: the highest scores of each text are all
that a model is trained and tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from ...faithfulness.training.batches import Batch
from ...faithfulness.training.loop import Settings, assess, fit
from ..portions import shuffled
from .data import Examples
from .run import SIZE, Case, explained

__all__ = ["answers", "extracted", "performance"]


def performance(
    config: Mapping[str, Any], case: Case, share: float, name: str
) -> Tensor:
    """Train models on the rationales of a method.

    Args:
        config: The configuration.
        case: What is explained.
        share: Of a text's tokens that a rationale has.
        name: Of the method.

    Returns:
        The share of new models, one a seed, that are right on each held out, ``[n]``.
    """
    own, how = config["rationale"], config["methods"][name]
    parts = (case.parts.train, own["train"]), (case.parts.held_out, own["test"])
    train, test = (
        extracted(
            config,
            case,
            examples,
            shuffled(len(examples), most, config["seed"]),
            how,
            share,
        )
        for examples, most in parts
    )
    found = [answers(case, train, test, own, seed) for seed in own["seeds"]]
    return torch.stack(found).mean(0)


def extracted(
    config: Mapping[str, Any],
    case: Case,
    examples: Examples,
    rows: Sequence[int],
    how: Mapping[str, Any],
    share: float,
) -> Examples:
    """Keep the tokens of the highest scores, in their order, and special ones.

    Args:
        config: The configuration.
        case: What is explained.
        examples: All examples.
        rows: Which of them.
        how: The method.
        share: Of the tokens that are not special.

    Returns:
        Shorter examples, in the order of ``rows``.
    """
    lengths = examples.lengths()
    kept: dict[int, dict[str, list[int]]] = {}
    order = sorted(rows, key=lambda row: int(lengths[row]))
    for start in range(0, len(order), SIZE):
        part = order[start : start + SIZE]
        inputs = examples.batch(part).inputs
        scores, _ = explained(case, how, inputs, config["seed"])
        for row, own in zip(part, scores, strict=True):
            given = examples.rows[row]
            stays = rationale(own, given["special_tokens_mask"], share)
            kept[row] = {k: [v[i] for i in stays] for k, v in given.items()}
    found = deepcopy(examples)
    found.rows = [kept[row] for row in rows]
    found.labels = examples.labels[list(rows)]
    return found


def rationale(scores: Tensor, special: Sequence[int], share: float) -> list[int]:
    """Choose tokens.

    Args:
        scores: ``[T]``, padding at the end.
        special: 1 for special tokens, of those that are no padding.
        share: Of the others, at least one.

    Returns:
        Their places, and those of special tokens, ascending.
    """
    free = [i for i, mark in enumerate(special) if not mark]
    most = max(1, ceil(share * len(free)))
    chosen = sorted(free, key=lambda i: -float(scores[i]))[:most]
    return sorted([*chosen, *(i for i, mark in enumerate(special) if mark)])


def answers(
    case: Case, train: Examples, test: Examples, own: Mapping[str, Any], seed: int
) -> Tensor:
    """Train a model of the same shape and words on rationales, and ask it.

    Args:
        case: Whose shape and word embeddings it has; all else is new.
        train: Rationales to train on.
        test: Rationales to ask about.
        own: How to train.
        seed: Of its weights.

    Returns:
        1 where it is right, ``[n]``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: nn.Module = type(case.model)(case.model.config)
    words = case.model.get_input_embeddings().weight.detach()
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(words)
    settings = Settings(own["epochs"], own["size"], own["lr"], seed=seed)
    steps = sum(1 for _ in train.batches(settings.size, torch.Generator()))
    fit(
        model,
        lambda generator: train.batches(settings.size, generator),
        steps,
        lambda: assess(model, train.batches(64)),
        settings,
    )
    model.eval()
    with torch.no_grad():
        return torch.cat([
            _right(model, test.batch(range(start, min(start + 64, len(test)))))
            for start in range(0, len(test), 64)
        ])


def _right(model: nn.Module, batch: Batch) -> Tensor:
    return (model(**batch.inputs).logits.argmax(-1) == batch.labels).double()
