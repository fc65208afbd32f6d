"""One call for every explainer, on tensors or on texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .. import explainers
from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..tasks import Posed, pose
from ..tasks.bi_encoders import sentence_encoder
from ..texts.choices import (
    Choices,
    as_choices,
    check_chooses,
    check_chosen_among,
    encode_choices,
)
from ..texts.decoding import with_decoder_read
from ..texts.encoding import Encoded, encode, read_tokens
from ..texts.given import Text, as_texts, parted
from ..texts.illustrated import Illustrated, as_illustrated, encode_illustrated
from ..texts.windows import check_stride, documents
from .backdrop import lay_over
from .base import check_reads
from .constants import warn_of_constants
from .encoder_decoders import SIDES, check_continues, said_so_far
from .naming import annotated
from .padding import check_padding
from .pipelines import unpacked
from .sides import Sides, check_encodes, sides
from .windows import Windowed, windowed

__all__ = ["Question", "answer", "asked", "explain"]


def explain(
    model: Any,
    inputs_or_text: Any,
    method: str = "lrp",
    tokenizer: Any = None,
    target: Any = None,
    stride: int | None = None,
    decoder: str | Sequence[str] | None = None,
    **options: Any,
) -> Explanation:
    """Explain one output of a model for each example.

    Args:
        model: Any module; or a ``transformers.pipeline`` or ``SentenceTransformer``,
            which bring their tokenizer; it is left as it was.
        inputs_or_text: A text, a pair of texts ``(text, text_pair)`` or ``{"text":
            ..., "text_pair": ...}``, an image with its text ``(pixel values, text)``,
            or a list of such, which need a tokenizer; or a tensor, a tuple of tensors,
            or a mapping of keyword arguments. ``{"text": ..., "decoder": ...}`` is the
            same as ``decoder=``.
        method: An explainer's class name in snake case. Defaults to ``"lrp"``.
        tokenizer: A Hugging Face tokenizer, which also names the tokens of a batch.
        target: What to explain: a class or token id, one for each example, a label,
            a ``Contrast``, or a function of the model's output; for a token classifier
            ``(position or word, label)`` or ``"entities"``; for question answering
            ``"start"``, ``"end"`` or a span of positions; for a masked or a next token
            its name; for a detector ``(query, class)`` or a label; for a segmentation
            ``(class, place)``; for speech by frames ``(frame, token)``; for a forecast
            ``(step, variable)``.
            Defaults to ``None``: the arg-max, the strongest entity, the best span, the
            surest box, the largest region, the clearest token, the first step.
        stride: Reads a text of more tokens than the model has positions in windows that
            have this many tokens in common, and joins what is found: a mean over the
            windows, told in ``.meta["windows"]``. Defaults to ``None``: such a text is
            refused.
        decoder: What an encoder-decoder has written so far, a text or one for each:
            the token that follows is explained, and with ``"lrp"`` and
            ``"gradient_x_input"`` the scores are those of the encoder's tokens, then
            of the decoder's. Defaults to ``None``: the first token is explained.
        **options: Options of the explainer, for example ``rules="attnlrp"``.

    Returns:
        The explanation, with tokens and label names where they are known;
        ``.meta["task"]`` says what the model's output was taken for. A text without a
        tokenizer, and an output of which nothing tells what to explain, are refused.
    """
    explainer_class = explainers.named(method)
    explainer_class.check_options(options)
    question = asked(model, inputs_or_text, tokenizer, target, stride, decoder)
    found = answer(question, method, options, decoded=True)
    warn_of_constants(found, target)
    return found


@dataclass(frozen=True)
class Question:
    """What is to be explained, by whichever method.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer, or None.
        posed: The batch, the target and the task; of several parts, those of each.
        parts: How the answers for windows, or for both sides of a similarity, are
            joined; None where each question is about a whole.
    """

    model: nn.Module
    tokenizer: Any
    posed: list[Posed]
    parts: Windowed | Sides | None = None


def asked(
    model: Any,
    inputs_or_text: Any,
    tokenizer: Any,
    target: Any,
    stride: int | None = None,
    decoder: Any = None,
) -> Question:
    """Read the arguments of `explain`.

    Args:
        model: See `explain`.
        inputs_or_text: See `explain`.
        tokenizer: See `explain`.
        target: See `explain`.
        stride: See `explain`.
        decoder: See `explain`.

    Returns:
        The question.
    """
    model, tokenizer = unpacked(model, tokenizer)
    inputs_or_text, decoder = parted(inputs_or_text, decoder)
    pictured, prompts, texts = _texts(inputs_or_text, tokenizer)
    if stride is not None:
        _check_cuttable(stride, texts, prompts, inputs_or_text)
    if decoder is not None:
        check_continues(decoder, texts, stride)
    check_chosen_among(model, texts)
    encoder = sentence_encoder(model)
    if encoder is not None and (texts is not None or prompts is not None):
        check_encodes(prompts, stride)
        model = encoder
        if any(isinstance(text, tuple) for text in texts or []):
            both = sides(encoder, tokenizer, texts or [], target)
            return Question(encoder, tokenizer, both.posed, both)
    encoded: Encoded | None
    if prompts is not None:
        check_chooses(model)
        encoded = encode_choices(model, tokenizer, prompts)
    elif pictured is not None:
        encoded = encode_illustrated(model, tokenizer, pictured)
    elif texts is not None and stride is not None:
        encoded, parts = documents(model, tokenizer, texts, stride)
        if any(len(each.windows) > 1 for each in parts):
            found = windowed(model, tokenizer, encoded, parts, target, stride)
            return Question(model, tokenizer, found.reading.posed, found)
    elif texts is not None:
        encoded = encode(model, tokenizer, texts)
        encoded = said_so_far(model, tokenizer, encoded, decoder)
    else:
        encoded = read_tokens(tokenizer, inputs_or_text) if tokenizer else None
        encoded = encoded and with_decoder_read(tokenizer, encoded)
    batch = inputs_or_text if encoded is None else encoded.batch
    return Question(model, tokenizer, [pose(model, tokenizer, batch, encoded, target)])


def _texts(
    inputs: Any, tokenizer: Any
) -> tuple[Illustrated | None, list[Choices] | None, list[Text] | None]:
    """Tell images with texts, prompts with choices, and texts.

    Returns:
        One of each; at most one of them is not None.

    Raises:
        ArgumentError: If a text comes without a tokenizer.
    """
    pictured, prompts = as_illustrated(inputs), as_choices(inputs)
    told = pictured is not None or prompts is not None
    texts = None if told else as_texts(inputs)
    if (told or texts is not None) and tokenizer is None:
        raise ArgumentError(
            "inputs_or_text is a text, and tokenizer is None. Pass the model's "
            "tokenizer, or token ids as a tensor."
        )
    return pictured, prompts, texts


def _check_cuttable(stride: object, texts: Any, prompts: Any, inputs: Any) -> None:
    """Refuse a stride that is no number, or that nothing can be cut by.

    Raises:
        ArgumentError: If the inputs are no texts, or prompts with choices.
    """
    check_stride(stride)
    if prompts is not None:
        raise ArgumentError(
            f"stride={stride!r} cuts one text into windows, but a choice is made among "
            "prompts as they are. Leave stride= out, and shorten what is too long."
        )
    if texts is None:
        raise ArgumentError(
            f"stride={stride!r} cuts texts, but inputs_or_text is a "
            f"{type(inputs).__name__}. Pass the text and its tokenizer, or leave "
            "stride= out."
        )


def answer(
    question: Question,
    method: str,
    options: Mapping[str, Any],
    decoded: bool = False,
    pieces: bool = True,
) -> Explanation:
    """Explain what is asked.

    Args:
        question: What is to be explained.
        method: An explainer's class name in snake case.
        options: The explainer's options.
        decoded: Whether the decoder's tokens of an encoder-decoder are to have scores
            where the method can give them. Defaults to ``False``: the encoder's alone.
        pieces: Whether to cut out the text that each token stands for.

    Returns:
        The explanation.
    """
    encoded = question.posed[0].encoded
    both = decoded and encoded is not None and encoded.decoder is not None
    if both and question.parts is None and explainers.named(method).reads_sides:
        options = {"wrt": SIDES, **options}
    found = [
        _answered(question, posed, method, options, pieces) for posed in question.posed
    ]
    return found[0] if question.parts is None else question.parts.joined(found)


def _answered(
    question: Question,
    posed: Posed,
    method: str,
    options: Mapping[str, Any],
    pieces: bool,
) -> Explanation:
    """Explain one batch."""
    explainer_class = explainers.named(method)
    chosen = dict(options)
    if posed.read:
        check_reads(explainer_class, posed.read)
        chosen.setdefault("wrt", list(posed.read))
    if question.tokenizer is not None and "tokenizer" in explainer_class.options():
        chosen.setdefault("tokenizer", question.tokenizer)
    found = explainer_class(question.model, **chosen)(posed.batch, target=posed.target)
    check_padding(found, posed.encoded, question.model)
    if found.images is None:
        lay_over(found, question.model, posed.batch)
    if getattr(posed.target, "boxes", ()):
        found.meta["boxes"] = [list(box) for box in posed.target.boxes]
    if posed.task is not None:
        found.meta["task"] = str(posed.task)
    return annotated(found, question.model, question.tokenizer, posed.encoded, pieces)
