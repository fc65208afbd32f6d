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

from ..attribution.inputs import is_encoder_decoder
from ..attribution.instrument import instrument
from ..attribution.readout import Contrast
from ..engine.ruleset import RuleSet
from ..engine.wrappers import unwrapped
from ..errors import ArgumentError
from ..texts.encoding import read_tokens
from ..texts.spans import vocabulary_mark
from .across import by_encoder_decoder, seconds_of_frame
from .explanation import GenerationExplanation
from .model import check_causal, check_model, check_tokenizer
from .passes import Rows, relevance_of_each
from .tokens import contrast_ids
from .written import Written, by_decoder

__all__ = ["GenerationExplanation", "explain_generation"]


def explain_generation(
    model: nn.Module,
    tokenizer: Any,
    prompt: str | Sequence[Mapping[str, str]] | Tensor | Mapping[str, Tensor],
    *,
    max_new_tokens: int | None = None,
    continuation: str | Sequence[int] | Tensor | None = None,
    contrast: str | int | Sequence[str | int] | Tensor | None = None,
    chunk: int | None = None,
    chat: bool = False,
    rules: str | RuleSet = "conservative",
) -> GenerationExplanation:
    """Explain every token that a language model writes.

    The model writes greedily, uninstrumented, unless what follows the prompt is given.
    Row t of the scores is `Instrumentation.attribute` of the tokens before generated
    token t with that token's raw logit as the target: with its sources it sums to the
    logit. All rows come from one forward pass; each takes one backward pass, which
    starts behind the language-model head.

    An encoder-decoder reads the prompt in its encoder, and writes in its decoder: the
    columns are the encoder's tokens, the token that the decoder starts with, and what
    it writes. All behind that start has a row, also what the model is made to begin
    with, such as the token of a language; its ledger has no positions.

    Args:
        model: A decoder, or an encoder-decoder, with a language-model head; it is left
            as it was.
        tokenizer: Its Hugging Face tokenizer, or a processor that has one; a feature
            extractor in it tells the time of frames.
        prompt: A text, tokenised as it is; or a chat: messages with ``"role"`` and
            ``"content"``, written by the tokenizer's chat template. For an
            encoder-decoder of audio the features of one recording, [1, F, T] or
            [1, T, F], or a mapping with them: then frames are columns.
        max_new_tokens: Let the model write so many tokens, fewer if it ends the text;
            the token that ends it is explained as well.
        continuation: What follows instead: token ids, or a text, tokenised together
            with the prompt. A text may change the prompt's last tokens ("un" and "do"
            may be one token "undo"): it begins at the first token that differs from
            the prompt's own, and ``meta["merged"]`` says how many were replaced. Of an
            encoder-decoder it is what the decoder wrote behind its start: a text is
            tokenised as one of the target language, without what would end it.
        contrast: Explain why a token was written *rather than* this one: a token as
            text or id, or one for each generated token. A text is tokenised as it is
            (most vocabularies tell ``" London"`` from ``"London"``); of several tokens
            the first one counts, and a warning says which that is.
        chunk: How many tokens a backward pass explains at once. Its memory grows in
            proportion. Defaults to ``None``: four, or fewer where the widest gradient
            of a pass would exceed 256 MiB. Where parameters are spread over ranks, it
            is always one.
        chat: Whether a text as prompt is the user's message in a chat.
        rules: A rule set or its name. Defaults to ``"conservative"``.

    Returns:
        The matrix of generated tokens and all tokens.
    """
    model = unwrapped(model)
    check_model(model)
    seconds = seconds_of_frame(tokenizer)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # out of a processor
    check_tokenizer(model, tokenizer)
    _check_numbers(max_new_tokens, continuation, chunk)
    if max_new_tokens is not None:
        with instrument(model, rules):
            pass  # what cannot be explained is refused before the model writes
    given = (model, tokenizer, prompt, chat, max_new_tokens, continuation)
    across = is_encoder_decoder(model)
    text = by_encoder_decoder(*given, seconds) if across else by_decoder(*given)
    device = next(model.parameters()).device
    targets, others = torch.tensor(text.generated, device=device), None
    if contrast is not None:
        count = len(text.generated)
        found = contrast_ids(tokenizer, contrast, count, text.vocabulary, across)
        others = torch.tensor(found, device=device)
    with instrument(model, rules) as lrp:
        explained = relevance_of_each(
            model, lrp, text.inputs, targets, others, chunk, text.wrt
        )
        explained.meta["rules"] = lrp.rules.name
    return _explanation(model, tokenizer, text, targets, others, explained)


def _explanation(
    model: nn.Module,
    tokenizer: Any,
    text: Written,
    targets: Tensor,
    others: Tensor | None,
    rows: Rows,
) -> GenerationExplanation:
    count, device = len(targets), rows.scores.device
    places = torch.arange(len(text.columns), device=device)
    attended = places < text.start + torch.arange(count, device=device)[:, None]
    check_causal(rows.scores, attended[:, :-1])
    named = targets if others is None else torch.cat([targets, others])
    names = read_tokens(tokenizer, named[None])
    assert names is not None
    meta = {
        "model": type(model).__name__,
        "labels": dict(zip(named.tolist(), names.tokens[0], strict=True)),
        "special": [[column.special for column in text.columns]] * count,
        "subwords": vocabulary_mark(tokenizer),
        "pieces": [[column.piece for column in text.columns]] * count,
        **text.meta,
        **rows.meta,
    }
    positions = {name: _widen(part) for name, part in rows.ledger.positions.items()}
    return GenerationExplanation(
        scores=_widen(rows.scores),
        output=rows.ledger.output,
        target=targets if others is None else Contrast(targets, others),
        method="lrp",
        tokens=[[column.token for column in text.columns]] * count,
        attended=attended,
        prompt=text.start,
        ledger=replace(rows.ledger, positions=positions),
        meta=meta,
    )


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
