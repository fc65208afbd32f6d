"""The measured calls: every generated token explained, and the backward passes alone.

A quarter of the context counts as generated: 64 of 256 tokens.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from lrp_hooks import explain_generation, instrument

from ..cost.methods import FORWARD, Batch, Call, Method, forward, gradient_x_input

__all__ = [
    "BACKWARDS",
    "EXPLAINED",
    "INSTRUMENTED",
    "LAST_LOGITS",
    "ONE_BACKWARD",
    "ONE_BY_ONE",
    "PEAKS",
    "explained_with",
    "methods",
]

BACKWARDS = "backward passes"
LAST_LOGITS = "backward passes, last logits alone"
INSTRUMENTED = "backward passes, instrumented"
ONE_BACKWARD = "one backward pass"
EXPLAINED = "explain_generation"


def explained_with(chunk: int) -> str:
    """Name the method that explains with a chunk of that many tokens."""
    return f"{EXPLAINED}, chunk={chunk}"


ONE_BY_ONE = explained_with(1)
CHUNKS = (1, 16)
PEAKS = (ONE_BACKWARD, EXPLAINED, *map(explained_with, CHUNKS))
"""Those whose peak memory means something: their forward pass is inside."""


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: One rule set.

    Returns:
        Methods by name.
    """
    (name,) = rules
    backwards = partial(backward_passes, rules=None)
    table: dict[str, Method] = {
        FORWARD: forward,
        ONE_BACKWARD: partial(gradient_x_input, trainable=False),
        BACKWARDS: partial(backwards, keep=False),
        LAST_LOGITS: partial(backwards, keep=True),
        INSTRUMENTED: partial(backward_passes, rules=name, keep=True),
        EXPLAINED: partial(explained, rules=name, chunk=None),
    }
    return table | {
        explained_with(chunk): partial(explained, rules=name, chunk=chunk)
        for chunk in CHUNKS
    }


@contextmanager
def backward_passes(
    model: nn.Module, batch: Batch, rules: str | None, keep: bool
) -> Generator[Call]:
    """One backward pass a generated token; the forward pass is not in the call.

    Args:
        model: The model.
        batch: Its keyword arguments.
        rules: Instrument it with these; None leaves it plain.
        keep: Whether the forward pass computes the last logits alone.

    Yields:
        The call.
    """
    ids = batch["input_ids"]
    generated = ids.shape[1] // 4
    flags = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    with ExitStack() as stack:
        if rules is not None:
            stack.enter_context(instrument(model, rules))
        leaf = model.get_input_embeddings()(ids[:, :-1]).detach().requires_grad_()
        only = {"logits_to_keep": generated} if keep else {}
        logits = model(inputs_embeds=leaf, use_cache=False, **only).logits[0]
        chosen = logits[-generated:].gather(1, ids[0, -generated:, None])[:, 0]

        def call() -> list[Tensor]:
            return [_scores(logit, leaf) for logit in chosen]

        yield call
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)


def _scores(logit: Tensor, leaf: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(logit, leaf, retain_graph=True)
    return (gradient * leaf.detach()).sum(-1)


@contextmanager
def explained(
    model: nn.Module, batch: Batch, rules: str, chunk: int | None
) -> Generator[Call]:
    """The whole of `explain_generation`, forward pass and ledger included."""
    ids = batch["input_ids"][0].tolist()
    tokenizer = words(model.get_input_embeddings().num_embeddings)
    start = len(ids) - len(ids) // 4
    prompt = " ".join(map(str, ids[:start]))
    yield lambda: explain_generation(
        model,
        tokenizer,
        prompt,
        continuation=ids[start:],
        chunk=chunk,
        rules=rules,
    )


@cache
def words(vocabulary: int) -> Any:
    """Make a tokenizer whose words are the ids as numbers."""
    core = Tokenizer(models.WordLevel({str(i): i for i in range(vocabulary)}, "0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="0")
