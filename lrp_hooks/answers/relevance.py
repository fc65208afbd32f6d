"""Relevance of sources: that of their tokens, and a ledger of all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..attribution.checkpointing import checkpointed
from ..attribution.finite import check_relevance
from ..attribution.instrument import instrument
from ..engine.ruleset import RuleSet
from ..engine.subject import Subject
from ..generation.model import check_causal
from ..generation.tokens import as_ids
from ..results.ledger import Ledger
from ..support.passages import Passage
from ..texts.devices import device_of
from .beside import Beside
from .cache import prompt_cache
from .found import Found
from .passages import members
from .passes import SpanRows, relevance_of_spans
from .reading import Reading
from .targets import TARGETS

__all__ = ["explained_by_relevance"]


def explained_by_relevance(
    model: nn.Module,
    reading: Reading,
    sources: Sequence[Passage],
    spans: Tensor,
    *,
    target: str,
    hops: int,
    rules: str | RuleSet,
    low_memory: bool,
    beside: Beside | None = None,
    wrt: str = "tokens",
) -> Found:
    """Explain spans by the relevance of sources.

    Args:
        model: The plain model.
        reading: The prompt and its answer.
        sources: Passages of the prompt.
        spans: Boolean ``[A, G]``: the tokens of each span.
        target: What is explained of a token, a key of `TARGETS`.
        hops: See `explain_answer`.
        rules: See `explain_answer`.
        low_memory: See `explain_answer`.
        beside: What the model is called with, where that is more than a text.
        wrt: See `explain_answer`.

    Returns:
        The scores, with a ledger.
    """
    device = device_of(model)
    ids = as_ids(reading.ids[:-1], device)
    inputs = {"input_ids": ids} if beside is None else beside.inputs
    cache = None
    if wrt == "cache" and reading.start > 1:
        # The prompt's last token writes the first one of the answer.
        cache = prompt_cache(model, ids[:, : reading.start - 1])
        inputs = {"input_ids": ids[:, cache.count :]}
        inputs["attention_mask"] = torch.ones_like(ids)
    targets = torch.tensor(reading.ids[reading.start :], device=device)
    with checkpointed(model) if low_memory else nullcontext():
        lent = nullcontext() if cache is None else cache.lent(model)
        with instrument(model, rules) as lrp, lent:
            rows = relevance_of_spans(
                model,
                lrp,
                inputs,
                targets,
                spans,
                TARGETS[target],
                hops,
                wrt=None if beside is None else beside.names,
                cache=cache,
            )
            name = lrp.rules.name
    check_relevance(Subject(model), {"the prompt and the answer": rows.scores})
    check_causal(rows.scores, _before(spans, ids.shape[1], reading.start))
    owner = members(reading.prompt, reading.places[: reading.start], sources)
    meta = {**rows.meta, "rules": name, "wrt": wrt, "hops": hops, "calls": 1}
    found = _found(rows, owner, len(sources), meta)
    return found if beside is None else replace(found, beside=beside.shaped(found))


def _before(spans: Tensor, length: int, start: int) -> Tensor:
    """Tell which of N tokens stand before the last one of each span."""
    last = torch.tensor([int(row.nonzero()[-1]) for row in spans])
    return torch.arange(length) < start + last[:, None]


def _found(rows: SpanRows, owner: Tensor, count: int, meta: dict[str, object]) -> Found:
    """Sum the relevance of tokens by source, and enter the rest in the ledger."""
    dtype = rows.output.dtype
    of_prompt = rows.scores[:, : len(owner)]
    sums = torch.zeros(len(of_prompt), count + 1, dtype=torch.float64)
    # What is of no source, -1, is summed in the last column.
    sums.index_add_(1, owner % (count + 1), of_prompt)
    scores = sums[:, :count].to(dtype)
    sources = {
        "prompt": sums[:, count],
        "answer": rows.scores[:, len(owner) :].sum(1),
        **rows.sources,
    }
    inputs = sums[:, :count].sum(1).to(dtype)
    return Found(
        scores=scores,
        output=rows.output,
        token_scores=rows.scores.to(dtype),
        ledger=Ledger(inputs, sources, {}, rows.output),
        meta=meta,
        beside={name: values.to(dtype) for name, values in rows.beside.items()},
    )
