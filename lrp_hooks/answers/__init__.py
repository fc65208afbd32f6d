"""Which parts of a prompt made a language model give an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..attribution.inputs import is_encoder_decoder
from ..engine.ruleset import RuleSet
from ..engine.wrappers import unwrapped
from ..errors import ArgumentError, UnsupportedModelError
from ..generation.beside import has_more_than_text, parted
from ..generation.model import check_model, check_tokenizer
from ..rules import Attention
from .ablation import METHODS, Ablating
from .asked import Asker
from .cache import check_wrt
from .explanation import AnswerExplanation
from .passages import answer_spans, prompt_sources
from .relevance import explained_by_relevance
from .targets import check_target

__all__ = ["AnswerExplanation", "check_decodes", "explain_answer"]


def explain_answer(
    model: nn.Module,
    tokenizer: Any,
    prompt: Any,
    answer: str | Sequence[int] | Tensor | None = None,
    *,
    processor: Any = None,
    max_new_tokens: int | None = None,
    sources: str | Sequence[str] = "sentences",
    spans: str | Sequence[str] = "sentences",
    target: str = "log_probability",
    hops: int = 0,
    chat: bool = False,
    rules: str | RuleSet | None = None,
    wrt: str = "tokens",
    low_memory: bool = False,
    method: str = "lrp",
    calls: int = 64,
    seed: int = 0,
) -> AnswerExplanation:
    """Find which parts of a prompt made a language model give an answer.

    One forward pass over prompt and answer, and one backward pass for each span of the
    answer, however long it is. A span's row sums, with what came from the rest of the
    prompt, from the answer itself and from constants, to what is explained of it.

    Args:
        model: A decoder with a language-model head; it is left as it was.
        tokenizer: Its Hugging Face tokenizer.
        prompt: A text, tokenised as it is; or a chat: messages with ``"role"`` and
            ``"content"``, written by the tokenizer's chat template. With a picture or a
            sound: what the model's processor returns for one text, or what
            ``processor`` takes, see `explain_generation`; relevance alone explains it.
        processor: The model's processor, which makes inputs of texts with images or
            sounds. Defaults to ``None``: ``tokenizer``, if that is one.
        answer: What the model is taken to have answered, as a text, tokenised together
            with the prompt, or as token ids. Defaults to ``None``: the model writes it,
            uninstrumented.
        max_new_tokens: How many tokens the model writes at most; needed where there is
            no ``answer``.
        sources: What the prompt is cut into: ``"sentences"``, ``"paragraphs"``,
            ``"words"``, ``"tokens"``, or a list of texts that stand in it, in their
            order, such as retrieved passages.
        spans: What is explained of the answer: ``"sentences"``, ``"all"`` (one span),
            ``"tokens"``, a text in it, or a list of such texts, in their order.
        target: ``"log_probability"``: the sum over the span's tokens y of
            ``z_y - sum_v p_v z_v``, with the probabilities p frozen; its gradient is
            that of the log-probability. ``"logit"``: the sum of ``z_y``.
        hops: How often what reached tokens of the answer before the span is sent on to
            what made these: each gives away exactly what it got, in the proportions of
            its own relevance, constants included. One backward pass a hop.
        chat: Whether a text as prompt is the user's message in a chat.
        rules: A rule set or its name. Defaults to ``None``: ``"conservative"`` with a
            quarter of what passes an attention sent through its queries and keys,
            half of what ``"attnlrp"`` sends there: nearly as good as either at
            what each is best at, in benchmarks/answers.
        wrt: Where the prompt's relevance is read: ``"tokens"``, at their embeddings; or
            ``"cache"``, at the keys and values by which the answer's tokens read them,
            so that what a token had gathered from those before it counts as its own.
            Rows sum as well. It predicts as well or better what becomes of the answer
            without a source, and costs and keeps little more than one forward pass,
            since the prompt runs without a graph; in benchmarks/answers.
        low_memory: Keep no more than the inputs of the model's blocks, and run each
            again in the backward pass: the same numbers.
        method: ``"lrp"``; ``"ablation"``: a sparse linear regression on random
            ablations of whole sources (ContextCite, Cohen-Wang et al. 2024), or
            ``"leave_one_out"``: what the target loses without each source. The last
            two run the model forward only.
        calls: How many ablations the regression sees.
        seed: Of the random ablations.

    Returns:
        The matrix of spans and sources. Refused are a source that does not stand in
        the prompt, a span that does not stand in the answer, and an answer that is
        empty, begins inside one of the prompt's tokens, or is too long for the model.
    """
    if rules is None:
        rules = _quarter()
    model = unwrapped(model)
    check_decodes(model)
    tokenizer, processor = parted(tokenizer, processor)
    check_tokenizer(model, tokenizer)
    _check_options(method, target, hops, calls, answer, max_new_tokens)
    check_wrt(wrt, method, low_memory, has_more_than_text(prompt))
    asker = Asker(model, tokenizer, processor, rules, max_new_tokens)
    asked = asker.read(prompt, answer, chat=chat, method=method)
    reading = asked.reading
    passages = prompt_sources(reading, sources, asked.written)
    named, inside = answer_spans(reading, spans)
    if asked.given is None or method == "lrp":
        found = explained_by_relevance(
            *(model, reading, passages, inside),
            target=target,
            hops=hops,
            rules=rules,
            low_memory=low_memory,
            beside=asked.beside,
            wrt=wrt,
        )
    else:
        parts = (asked.given, reading, passages, inside, target)
        found = Ablating(model, tokenizer, *parts).explained(method, calls, seed)
    return AnswerExplanation(
        scores=found.scores,
        output=found.output,
        sources=passages,
        spans=named,
        prompt=reading.prompt,
        answer=reading.answer,
        target=target,
        method=method,
        tokens=reading.tokens,
        token_scores=found.token_scores,
        ledger=found.ledger,
        beside=found.beside,
        meta={"model": type(model).__name__, **found.meta},
    )


def _quarter() -> RuleSet:
    """Return the default rule set; benchmarks/answers tells why."""
    shared = RuleSet.named("conservative").override(attention=Attention(0.25))
    return replace(shared, name="share .25")


def check_decodes(model: nn.Module) -> None:
    """Refuse a model that does not write its answer behind its prompt.

    Args:
        model: The model.

    Raises:
        UnsupportedModelError: If it writes nothing, or reads its prompt apart from
            what it writes.
    """
    check_model(model)
    if is_encoder_decoder(model):
        raise UnsupportedModelError(
            f"{type(model).__name__} is an encoder-decoder model, and explain_answer() "
            "takes decoders, which answer behind their prompt. Use "
            "explain_generation(), which explains each token that it writes."
        )
    if not getattr(model, "can_generate", lambda: True)():
        raise UnsupportedModelError(
            f"{type(model).__name__} does not write one token after another, so it has "
            "no answer to a prompt. Load a decoder with AutoModelForCausalLM, or "
            "explain what this model returns with explain()."
        )


def _check_options(
    method: Any, target: Any, hops: Any, calls: Any, answer: Any, max_new_tokens: Any
) -> None:
    """Refuse options that do not go together, or are none."""
    check_target(target)
    if method not in METHODS:
        raise ArgumentError(
            f"method={method!r} must be one of {', '.join(map(repr, METHODS))}."
        )
    if (answer is None) == (max_new_tokens is None):
        came = "neither" if answer is None else "both"
        raise ArgumentError(
            f"answer and max_new_tokens: {came} of them came; pass either answer=..., "
            "what the model said, or max_new_tokens=200, so that it writes."
        )
    numbers = {"hops": (hops, 0), "calls": (calls, 2)}
    if max_new_tokens is not None:
        numbers["max_new_tokens"] = (max_new_tokens, 1)
    for name, (value, least) in numbers.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least:
            raise ArgumentError(
                f"{name}={value!r} must be a whole number from {least} on."
            )
    if hops and method != "lrp":
        raise ArgumentError(
            f"hops={hops} sends relevance on, and method={method!r} has none. Leave "
            "hops= out, or use method='lrp'."
        )
