"""Explainers by configuration, and the scores that they give to sequences of ids."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lrp_hooks.rules import Attention
from torch import Tensor, nn

from lrp_hooks import RuleSet, explainers
from lrp_hooks.errors import UnruledWarning
from lrp_hooks.explainers import Explainer

Spec = dict[str, Any]
Batch = dict[str, Tensor]


class Scored(NamedTuple):
    """What an explainer says of sequences.

    Attributes:
        scores: One tensor ``[T]`` a sequence, without padding.
        seconds: CPU time.
        calls: The sequences that the model was shown, where the explainer counts them.
    """

    scores: list[Tensor]
    seconds: float
    calls: int | None


def build(model: nn.Module, tokenizer: Any, spec: Spec) -> Explainer:
    """Make an explainer.

    Args:
        model: The model to explain.
        tokenizer: Its tokenizer, for explainers that ask for one.
        spec: ``"method"``, the name; ``"options"``; and ``"query_key_share"``, laid
            over the rule set that the options name.

    Returns:
        The explainer.
    """
    kind = explainers.named(spec["method"])
    options = dict(spec.get("options", {}))
    if "query_key_share" in spec:
        rules = RuleSet.named(options["rules"])
        attention = Attention(query_key_share=spec["query_key_share"])
        options["rules"] = rules.override(attention=attention)
    if "tokenizer" in kind.options():
        options["tokenizer"] = tokenizer
    return kind(model, **options)


def score(
    explainer: Explainer,
    tokenizer: Any,
    rows: Sequence[list[int]],
    target: Sequence[int],
    size: int,
) -> Scored:
    """Explain sequences of ids, those of like lengths together.

    Args:
        explainer: The explainer.
        tokenizer: Pads.
        rows: Ids, special tokens included.
        target: The class to explain of each.
        size: Sequences in a batch.

    Returns:
        Scores in the order of the rows.
    """
    scores = [torch.empty(0)] * len(rows)
    calls: int | None = 0
    start = time.process_time()
    for places in batches(rows, size):
        batch = pad(tokenizer, [rows[i] for i in places])
        with warnings.catch_warnings():
            # The rule sets of Ali et al. leave activations to autograd on purpose.
            warnings.simplefilter("ignore", UnruledWarning)
            found = explainer(batch, target=[target[i] for i in places])
        assert isinstance(found.scores, Tensor)
        for i, row in zip(places, found.scores.detach().double(), strict=True):
            scores[i] = row[: len(rows[i])]
        shown = found.meta.get("model_calls")
        calls = None if shown is None or calls is None else calls + shown
    return Scored(scores, time.process_time() - start, calls)


def batches(rows: Sequence[list[int]], size: int) -> list[list[int]]:
    """Group sequences of like lengths.

    Args:
        rows: Ids.
        size: Sequences in a group.

    Returns:
        Their places.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]


def pad(tokenizer: Any, rows: Sequence[list[int]]) -> Batch:
    """Make a batch of ids.

    Args:
        tokenizer: Knows the padding.
        rows: Ids.

    Returns:
        ``input_ids`` and ``attention_mask``, ``[B, T]``.
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), tokenizer.pad_token_id)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def stack(values: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Put rows ``[T]`` of different lengths into one tensor ``[B, T]``."""
    return torch.nn.utils.rnn.pad_sequence(
        list(values), batch_first=True, padding_value=fill
    )


@torch.no_grad()
def probabilities(
    model: nn.Module, tokenizer: Any, rows: Sequence[list[int]], size: int
) -> Tensor:
    """Return the probabilities of the classes, ``[B, C]``."""
    found = [torch.empty(0)] * len(rows)
    for places in batches(rows, size):
        logits = model(**pad(tokenizer, [rows[i] for i in places])).logits
        for i, row in zip(places, logits.softmax(-1), strict=True):
            found[i] = row
    return torch.stack(found)
