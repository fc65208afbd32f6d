"""Which earlier tokens made each token that a language model writes.

One forward pass over prompt and continuation, and one backward pass for each generated
token, several of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from ..attribution.inputs import is_encoder_decoder
from ..attribution.instrument import instrument
from ..engine.ruleset import RuleSet
from ..engine.wrappers import unwrapped
from ..errors import ArgumentError, GenerationInterrupted
from .across import by_encoder_decoder
from .asked import Asked
from .beside import by_processor, has_more_than_text, parted, processed
from .explanation import GenerationExplanation
from .folding import Clock
from .model import check_model, check_tokenizer
from .resumed import known_ids, take_up
from .table import GenerationRow, Table
from .written import Written, by_decoder

__all__ = ["GenerationExplanation", "GenerationRow", "explain_generation"]

BAR_DELAY = 2.0
"""Seconds before a bar shows: what is done by then needs none."""


def explain_generation(
    model: nn.Module,
    tokenizer: Any,
    prompt: Any,
    *,
    processor: Any = None,
    max_new_tokens: int | None = None,
    continuation: str | Sequence[int] | Tensor | None = None,
    contrast: str | int | Sequence[str | int] | Tensor | None = None,
    chunk: int | None = None,
    chat: bool = False,
    rules: str | RuleSet = "conservative",
    on_row: Callable[[int, GenerationRow], object] | None = None,
    resume: GenerationExplanation | None = None,
) -> GenerationExplanation:
    """Explain every token that a language model writes.

    The model writes greedily, uninstrumented, unless what follows the prompt is given.
    Row t of the scores is `Instrumentation.attribute` of the tokens before generated
    token t with that token's raw logit as the target: with its sources it sums to the
    logit. All rows come from one forward pass, those of long texts from one for each
    block of them; each row takes one backward pass, which starts behind the
    language-model head.

    An encoder-decoder reads the prompt in its encoder, and writes in its decoder: the
    columns are the encoder's tokens, the token that the decoder starts with, and what
    it writes. All behind that start has a row, also what the model is made to begin
    with, such as the token of a language; its ledger has no positions.

    Args:
        model: A decoder, or an encoder-decoder, with a language-model head; it is left
            as it was.
        tokenizer: Its Hugging Face tokenizer, or a processor that has one; None where
            there is ``processor=``.
        prompt: A text, tokenised as it is; or a chat: messages with ``"role"`` and
            ``"content"``, written by the tokenizer's chat template. For an
            encoder-decoder of audio the features of one recording, [1, F, T] or
            [1, T, F], a waveform [1, T], pixels, or a mapping with them: then frames,
            stretches of the sound or patches are columns. For a decoder that sees or
            hears: what its processor returns for one text, or what ``processor`` takes:
            ``{"text": ..., "images": ...}``, ``(image or sound, text)``, or a chat with
            images in it; columns of what stands beside the text come first.
        processor: The model's processor, which makes inputs of texts with images or
            sounds; its feature extractor tells the time of frames. Defaults to
            ``None``: ``tokenizer``, if that is one.
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
        on_row: Called with the number of each row and what is in it, as soon as it is
            done, in order; rules are in force meanwhile.
        resume: The rows that an interrupted call has left: only the others are made.
            The model does not write again; the other arguments must be the same.

    Returns:
        The matrix of generated tokens and all tokens.

    Raises:
        GenerationInterrupted: At Ctrl-C, with the rows that are done as ``.partial``.
    """
    model = unwrapped(model)
    check_model(model)
    tokenizer, processor = parted(tokenizer, processor)
    check_tokenizer(model, tokenizer)
    if resume is not None and continuation is None:
        max_new_tokens, continuation = None, known_ids(resume)
    _check_numbers(max_new_tokens, continuation, chunk)
    if max_new_tokens is not None:
        with instrument(model, rules):
            pass  # what cannot be explained is refused before the model writes
    text = _written(
        *(model, tokenizer, prompt, chat, max_new_tokens, continuation), processor
    )
    asked = Asked.of(model, tokenizer, text, contrast)
    table = Table(len(text.generated), text.start)
    with instrument(model, rules) as lrp:
        table.meta["rules"] = lrp.rules.name
        if resume is not None:
            take_up(resume, text, asked.others, table)
        interrupted = _fill(table, asked.rows(lrp, chunk, table), on_row)
    if interrupted is not None:
        raise GenerationInterrupted(
            f"{table.done} of {table.count} tokens were explained; pass "
            "resume=error.partial to go on behind them.",
            asked.explanation(table.rows()) if table.done else None,
        ) from interrupted
    return asked.explanation(table.rows())


def _written(
    model: nn.Module,
    tokenizer: Any,
    prompt: Any,
    chat: bool,
    max_new_tokens: int | None,
    continuation: Any,
    processor: Any,
) -> Written:
    """Let a model write, or take what it wrote, by what it reads."""
    given = (model, tokenizer, prompt, chat, max_new_tokens, continuation)
    if is_encoder_decoder(model):
        return by_encoder_decoder(*given, processor)
    if not has_more_than_text(prompt):
        return by_decoder(*given)
    made = processed(processor, prompt, model)
    clock = Clock.of(processor)
    return by_processor(model, tokenizer, made, max_new_tokens, continuation, clock)


def _fill(
    table: Table,
    blocks: Generator[range],
    on_row: Callable[[int, GenerationRow], object] | None,
) -> BaseException | None:
    """Fill the table; return what interrupted that."""
    bar = tqdm(
        total=table.count,
        initial=table.done,
        unit="token",
        disable=None,  # off a terminal
        leave=False,
        delay=BAR_DELAY,
    )
    try:
        with bar, closing(blocks):
            for numbers in blocks:
                bar.update(len(numbers))
                if on_row is not None:
                    for number in numbers:
                        on_row(number, table.row(number))
    except KeyboardInterrupt as error:
        return error
    except SystemError as error:  # torch makes one of an interrupt in a node
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return error.__cause__
    return None


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
