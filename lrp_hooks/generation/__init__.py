"""Which earlier tokens made each token that a language model writes.

One forward pass over prompt and continuation, and one backward pass for each generated
token, several of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.instrument import instrument
from ..attribution.readout import Contrast
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from ..support import marks
from ..texts.encoding import read_tokens
from ..texts.spans import pieces, vocabulary_mark
from .explanation import GenerationExplanation
from .model import (
    check_causal,
    check_ids,
    check_length,
    check_model,
    check_tokenizer,
    greedy,
    vocabulary,
)
from .passes import Rows, relevance_of_each
from .tokens import Text, as_ids, contrast_ids, forced, read_prompt

__all__ = ["GenerationExplanation", "explain_generation"]


def explain_generation(
    model: nn.Module,
    tokenizer: Any,
    prompt: str | Sequence[Mapping[str, str]],
    *,
    max_new_tokens: int | None = None,
    continuation: str | Sequence[int] | Tensor | None = None,
    contrast: str | int | Sequence[str | int] | Tensor | None = None,
    chunk: int | None = None,
    chat: bool = False,
    rules: str | RuleSet = "conservative",
) -> GenerationExplanation:
    """Explain every token that a causal language model writes.

    The model writes greedily, uninstrumented, unless what follows the prompt is given.
    Row t of the scores is `Instrumentation.attribute` of the tokens before generated
    token t with that token's raw logit as the target: with its sources it sums to the
    logit. All rows come from one forward pass; each takes one backward pass, which
    starts behind the language-model head.

    Args:
        model: A decoder with a language-model head; it is left as it was.
        tokenizer: Its Hugging Face tokenizer.
        prompt: A text, tokenised as it is; or a chat: messages with ``"role"`` and
            ``"content"``, written by the tokenizer's chat template.
        max_new_tokens: Let the model write so many tokens, fewer if it ends the text;
            the token that ends it is explained as well.
        continuation: What follows instead: token ids, or a text, tokenised together
            with the prompt. A text may change the prompt's last tokens ("un" and "do"
            may be one token "undo"): it begins at the first token that differs from
            the prompt's own, and ``meta["merged"]`` says how many were replaced.
        contrast: Explain why a token was written *rather than* this one: a token as
            text or id, or one for each generated token. A text is tokenised as it is
            (most vocabularies tell ``" London"`` from ``"London"``); of several tokens
            the first one counts, and a warning says which that is.
        chunk: How many tokens a backward pass explains at once. Its memory grows in
            proportion. Defaults to ``None``: four, or fewer where the widest gradient
            of a pass would exceed 256 MiB.
        chat: Whether a text as prompt is the user's message in a chat.
        rules: A rule set or its name. Defaults to ``"conservative"``.

    Returns:
        The matrix of generated tokens and all tokens.
    """
    check_model(model)
    check_tokenizer(model, tokenizer)
    given = read_prompt(tokenizer, prompt, chat)
    _check_numbers(max_new_tokens, continuation, chunk)
    rows = vocabulary(model)
    device = next(model.parameters()).device
    check_ids(given.ids, rows)
    if max_new_tokens is None:
        text = forced(tokenizer, given, continuation)
        check_ids(text.ids, rows)
        check_length(model, text.start, len(text.generated))
    else:
        check_length(model, len(given.ids), max_new_tokens)
        with instrument(model, rules):
            pass  # what cannot be explained is refused before the model writes
        written = greedy(model, as_ids(given.ids, device), max_new_tokens)
        text = Text(given, [*given.ids, *written], len(given.ids))
    others = None
    if contrast is not None:
        found = contrast_ids(tokenizer, contrast, len(text.generated), rows)
        others = torch.tensor(found, device=device)
    targets = torch.tensor(text.generated, device=device)
    with instrument(model, rules) as lrp:
        ids = as_ids(text.ids[:-1], device)
        explained = relevance_of_each(model, lrp, ids, targets, others, chunk)
        explained.meta["rules"] = lrp.rules.name
    return _explanation(model, tokenizer, text, targets, others, explained)


def _explanation(
    model: nn.Module,
    tokenizer: Any,
    text: Text,
    targets: Tensor,
    others: Tensor | None,
    rows: Rows,
) -> GenerationExplanation:
    encoded = read_tokens(tokenizer, torch.tensor([text.ids]))
    assert encoded is not None
    count, device = len(targets), rows.scores.device
    places = torch.arange(len(text.ids), device=device)
    attended = places < text.start + torch.arange(count, device=device)[:, None]
    check_causal(rows.scores, attended[:, :-1])
    named = targets if others is None else torch.cat([targets, others])
    mark = vocabulary_mark(tokenizer)
    names = read_tokens(tokenizer, named[None])
    assert names is not None
    meta = {
        "model": type(model).__name__,
        "labels": dict(zip(named.tolist(), names.tokens[0], strict=True)),
        "special": encoded.special * count,
        "subwords": mark,
        "pieces": [_pieces(text, encoded.tokens[0], encoded.special[0], mark)] * count,
        "merged": text.merged,
        **rows.meta,
    }
    positions = {name: _widen(part) for name, part in rows.ledger.positions.items()}
    return GenerationExplanation(
        scores=_widen(rows.scores),
        output=rows.ledger.output,
        target=targets if others is None else Contrast(targets, others),
        method="lrp",
        tokens=encoded.tokens * count,
        attended=attended,
        prompt=text.start,
        ledger=replace(rows.ledger, positions=positions),
        meta=meta,
    )


def _pieces(
    text: Text, tokens: list[str], special: list[bool], mark: str | None
) -> list[str]:
    """Return what each token stands for: a part of what is known, or what it spells."""
    known, count = text.known, len(text.known.ids)
    found = pieces(known.encoding, [known.text], tokens[:count], special[:count], mark)
    return [*found, *marks.pieces(tokens, special, mark)[count:]]


def _widen(values: Tensor) -> Tensor:
    """Add the column of the last token, which comes after every explained one."""
    return torch.nn.functional.pad(values, (0, 1))


def _check_numbers(max_new_tokens: Any, continuation: Any, chunk: Any) -> None:
    """Refuse both or neither of the ways to go on, and counts below one."""
    if (max_new_tokens is None) == (continuation is None):
        came = "neither" if continuation is None else "both"
        raise ArgumentError(
            f"max_new_tokens and continuation: {came} of them came; pass either "
            "max_new_tokens=20, so that the model writes, or continuation=..., what "
            "follows the prompt."
        )
    for name, value in (("max_new_tokens", max_new_tokens), ("chunk", chunk)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and value > 0):
            raise ArgumentError(f"{name}={value!r} must be a whole number above 0.")
