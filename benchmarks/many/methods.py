"""What is measured: a plain loop at its best batch size, and `explain_many`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrp_hooks import explain_many

Texts = Sequence[str]
Method = Callable[[nn.Module, Any, Texts, Path, int], None]


def plain(
    model: nn.Module, tokenizer: Any, texts: Texts, out: Path, batch: int
) -> None:
    """Gradient x Input, sorted by length, nothing checked and nothing written."""
    del out
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    embedding = model.get_input_embeddings()
    counts = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
    order = sorted(range(len(texts)), key=counts.__getitem__)
    found: list[Any] = [None] * len(texts)
    for start in range(0, len(order), batch):
        own = order[start : start + batch]
        given = tokenizer([texts[n] for n in own], return_tensors="pt", padding=True)
        inputs = embedding(given["input_ids"]).detach().requires_grad_()
        mask = given["attention_mask"]
        logits = model(inputs_embeds=inputs, attention_mask=mask).logits
        (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), inputs)
        scores = (gradient * inputs.detach()).sum(-1).tolist()
        for n, row in zip(own, scores, strict=True):
            found[n] = row[: counts[n]]


def ours(**options: Any) -> Method:
    """`explain_many` with options; the batch is its own."""

    def run(
        model: nn.Module, tokenizer: Any, texts: Texts, out: Path, batch: int
    ) -> None:
        del batch
        explain_many(model, texts, out, tokenizer=tokenizer, **options)

    return run


METHODS: dict[str, Method] = {
    "plain": plain,
    "explain_many": ours(),
    "explain_many, 2 workers": ours(workers=2),
    "explain_many, Ray, 2 actors": ours(workers=2, engine="ray"),
}
