"""What a decoder wrote of a text and what stands beside it: a picture, or a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..attribution.content import content_of
from ..errors import ArgumentError, TextError
from .folding import Clock, folding
from .model import check_ids, check_length, generated_ids, vocabulary
from .tokens import whole_numbers
from .written import Column, Written, columns

__all__ = [
    "beside_inputs",
    "by_processor",
    "columns_beside",
    "has_more_than_text",
    "lengthened",
    "parted",
    "processed",
    "tokens_of",
]

IDS = "input_ids"


def processed(processor: Any, prompt: Any, model: nn.Module) -> dict[str, Tensor]:
    """Let a processor make what a model is called with.

    Args:
        processor: The model's processor; None where the prompt is its output already.
        prompt: Its output; a mapping of its arguments, such as ``{"text": ...,
            "images": ...}``; ``(image or sound, text)``; or messages of a chat, whose
            contents may hold images and sounds.
        model: The model.

    Returns:
        The inputs of one example.

    Raises:
        ArgumentError: If it needs a processor and there is none, or makes no text with
            anything beside it.
    """
    made = prompt
    if not _is_made(prompt):
        if not callable(processor):
            raise ArgumentError(
                f"prompt is a {type(prompt).__name__} of text and more, which only the "
                "model's processor makes inputs of: pass processor=, or its output."
            )
        made = _made(processor, prompt)
    named = {k: v for k, v in dict(made).items() if isinstance(v, Tensor)}
    ids = named.get(IDS)
    if ids is None or ids.ndim != 2 or len(ids) != 1 or len(beside_inputs(named)) < 2:
        came = ", ".join(f"{k} {list(v.shape)}" for k, v in named.items()) or "nothing"
        raise ArgumentError(
            "prompt must be one text with an image or a sound beside it, input_ids "
            f"[1, T] and floats; it has {came}."
        )
    weights = next(p for p in model.parameters() if p.is_floating_point())
    moved = {k: v.to(weights.device) for k, v in named.items()}
    return {k: v.to(weights) if v.is_floating_point() else v for k, v in moved.items()}


def parted(tokenizer: Any, processor: Any) -> tuple[Any, Any]:
    """Tell a tokenizer from the processor that has it, whichever came.

    Args:
        tokenizer: A tokenizer, a processor, or None.
        processor: A processor, or None.

    Returns:
        Both, as far as they are known.
    """
    if processor is None and hasattr(tokenizer, "tokenizer"):
        processor = tokenizer
    if tokenizer is None:
        tokenizer = processor
    return getattr(tokenizer, "tokenizer", tokenizer), processor


def has_more_than_text(prompt: Any) -> bool:
    """Tell a text with something beside it from a text, and from messages.

    Args:
        prompt: See `processed`.

    Returns:
        Whether a processor has made it, or has to.
    """
    if isinstance(prompt, Mapping | tuple):
        return True
    several = prompt if isinstance(prompt, list) else []
    return any(
        isinstance(m, Mapping) and isinstance(m.get("content"), list) for m in several
    )


def beside_inputs(given: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name what is read of a text and what stands beside it, the text last.

    Args:
        given: What the model is called with.

    Returns:
        The names of the inputs.
    """
    floats = [name for name in content_of(given, IDS) if name != IDS]
    return (*floats, IDS)


def lengthened(given: Mapping[str, Tensor], more: list[int]) -> dict[str, Tensor]:
    """Put tokens behind a text.

    Args:
        given: What the model is called with.
        more: The tokens.

    Returns:
        The same with a longer text, and with what goes with each of its tokens.
    """
    length = given[IDS].shape[1]
    ids = torch.tensor([more], device=given[IDS].device)
    found = dict(given)
    for name, value in given.items():
        if value.shape == (1, length) and not value.is_floating_point():
            filler = int(value[0, -1]) if "mask" in name else 0
            found[name] = pad(value, (0, len(more)), value=filler)
    found[IDS] = torch.cat([given[IDS], ids.long()], 1)
    return found


def by_processor(
    model: nn.Module,
    tokenizer: Any,
    given: Mapping[str, Tensor],
    max_new_tokens: int | None,
    continuation: Any,
    clock: Clock,
) -> Written:
    """Let a decoder go on behind a text and what stands beside it.

    Args:
        model: A decoder.
        tokenizer: Its tokenizer.
        given: What a processor made of the prompt.
        max_new_tokens: How many tokens the model writes; None if they are given.
        continuation: What it is taken to have written, as a text or token ids.
        clock: How long what it hears is.

    Returns:
        What it wrote: columns of what stands beside the text come first.

    Raises:
        TextError: If it wrote nothing.
    """
    ids = given[IDS][0].tolist()
    if max_new_tokens is not None:
        check_length(model, len(ids), max_new_tokens)
        written = generated_ids(model, given, max_new_tokens)
        more = written[len(ids) :] if written[: len(ids)] == ids else written
    else:
        more = tokens_of(tokenizer, continuation)
        check_length(model, len(ids), len(more))
    if not more:
        raise TextError(
            "the model ended the text at once, so there is no generated token to "
            "explain. Change the prompt, or pass a continuation=."
        )
    check_ids(more, vocabulary(model))
    names, meta = columns_beside(model, given, clock)
    first, *others = columns(tokenizer, [*ids, *more])
    first = replace(first, piece=f"\n{first.piece}")  # a line of its own
    return Written(
        inputs=lengthened(given, more[:-1]),
        columns=[*names, first, *others],
        generated=more,
        vocabulary=vocabulary(model),
        wrt=beside_inputs(given),
        meta={"merged": 0, "encoder": len(names), **meta},
    )


def tokens_of(tokenizer: Any, text: Any) -> list[int]:
    """Tokenise what follows a prompt.

    Args:
        tokenizer: The tokenizer.
        text: A text, or token ids.

    Returns:
        Token ids.
    """
    if not isinstance(text, str):
        return whole_numbers(text, "continuation")
    return list(tokenizer(text, add_special_tokens=False)[IDS])


def columns_beside(
    model: nn.Module, given: Mapping[str, Tensor], clock: Clock
) -> tuple[list[Column], dict[str, Any]]:
    """Name what stands beside a text.

    Args:
        model: The model.
        given: What it is called with.
        clock: How long what it hears is.

    Returns:
        A column for each patch or stretch, and what is to be said of them.
    """
    found: list[Column] = []
    meta: dict[str, Any] = {}
    for name in beside_inputs(given)[:-1]:
        folded = folding(name, given[name], model, given, clock)
        meta = folded.place(len(found)) | meta
        found += [Column(each, False, f" {each}") for each in folded.names]
    return found, meta


def _is_made(prompt: Any) -> bool:
    named = isinstance(prompt, Mapping)
    return (
        named and any(isinstance(v, Tensor) for v in prompt.values()) and IDS in prompt
    )


def _made(processor: Any, prompt: Any) -> Any:
    if isinstance(prompt, Mapping):
        return processor(**prompt, return_tensors="pt")
    if isinstance(prompt, tuple) and len(prompt) == 2:
        what = "audio" if hasattr(processor, "feature_extractor") else "images"
        return processor(text=prompt[1], return_tensors="pt", **{what: prompt[0]})
    if isinstance(prompt, Sequence) and not isinstance(prompt, str):
        return processor.apply_chat_template(
            list(prompt),
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
        )
    return processor(text=prompt, return_tensors="pt")
