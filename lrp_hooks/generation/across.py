"""What an encoder-decoder wrote: the encoder's places, then the decoder's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, TextError
from ..texts.decoding import DECODER, decoder_ids, position_limits
from ..texts.devices import device_of
from .folding import Clock, folding
from .model import check_ids, generated_ids, vocabulary
from .tokens import as_ids, read_prompt, whole_numbers
from .written import Column, Written, columns, columns_of_prompt

__all__ = ["by_encoder_decoder"]


def by_encoder_decoder(
    model: Any,
    tokenizer: Any,
    prompt: Any,
    chat: bool,
    max_new_tokens: int | None,
    continuation: Any,
    processor: Any = None,
) -> Written:
    """Let the decoder write what answers the encoder's input, or take it.

    Args:
        model: An encoder-decoder.
        tokenizer: Its tokenizer.
        prompt: See `explain_generation`.
        chat: See `explain_generation`.
        max_new_tokens: How many tokens the model writes; None if they are given.
        continuation: What it is taken to have written.
        processor: What makes features of recordings or pictures, and says how long a
            frame is, if there is one.

    Returns:
        What it wrote, behind the token that its decoder starts with.

    Raises:
        TextError: If it wrote nothing.
    """
    (start,) = decoder_ids(model, tokenizer, None, "continuation")
    main = getattr(model, "main_input_name", "input_ids")
    limits = position_limits(model)
    seen: dict[str, Any] = {}
    if main == "input_ids":
        inputs, given = _text(model, tokenizer, prompt, chat, limits[0])
    else:
        inputs, given, seen = _features(model, main, prompt, processor)
    known = vocabulary(model.get_decoder())
    if max_new_tokens is None:
        if isinstance(continuation, str):
            ids = decoder_ids(model, tokenizer, continuation, "continuation")
        else:
            ids = [start, *whole_numbers(continuation, "continuation")]
        check_ids(ids, known)
        _check_written(len(ids), limits[1])
    else:
        _check_written(1 + max_new_tokens, limits[1])
        ids = generated_ids(model, inputs, max_new_tokens)
    if len(ids) < 2:
        raise TextError(
            "the decoder writes nothing behind the token that it starts with, so there "
            "is no token to explain. Change the prompt, or pass a continuation=."
        )
    first, *others = columns(tokenizer, ids)
    first = replace(first, special=True, piece=f"\n{first.token}")  # a line of its own
    return Written(
        inputs={**inputs, DECODER: as_ids(ids[:-1], device_of(model))},
        columns=[*given, first, *others],
        generated=ids[1:],
        vocabulary=known,
        wrt=(main, DECODER),
        meta={"merged": 0, "encoder": len(given), **seen},
    )


def _text(
    model: nn.Module, tokenizer: Any, prompt: Any, chat: bool, limit: int | None
) -> tuple[dict[str, Tensor], Sequence[Column]]:
    """Tokenise what the encoder reads."""
    given = read_prompt(tokenizer, prompt, chat)
    check_ids(given.ids, vocabulary(model))
    if limit is not None and len(given.ids) > limit:
        raise TextError(
            f"the prompt has {len(given.ids)} tokens, but the model's encoder has "
            f"{limit} positions. Shorten the prompt."
        )
    ids = as_ids(given.ids, device_of(model))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs, columns_of_prompt(tokenizer, given, given.ids)


def _features(
    model: nn.Module, main: str, prompt: Any, processor: Any
) -> tuple[dict[str, Tensor], Sequence[Column], dict[str, Any]]:
    """Read the features of one recording, its waveform, or one picture."""
    named = dict(prompt) if isinstance(prompt, Mapping) else {main: prompt}
    if not isinstance(named.get(main), Tensor) and isinstance(prompt, Mapping):
        if callable(processor):
            named = dict(processor(**prompt, return_tensors="pt"))
    found = named.get(main)
    if not _are_features(found):
        shape = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
        raise TextError(
            f"prompt is a {type(prompt).__name__} {shape}".rstrip()
            + f", but {type(model).__name__} reads {main!r}: pass the features of one "
            "recording, floats [1, F, T], such as processor(audio, "
            'return_tensors="pt"), or what the processor takes by name with '
            "processor=. For another input explain token by token: "
            f"instrument(model).attribute(inputs, wrt=[{main!r}, {DECODER!r}])."
        )
    weights = next(p for p in model.parameters() if p.is_floating_point())
    if found.dtype != weights.dtype:
        raise ArgumentError(
            f"prompt is {found.dtype} and the model {weights.dtype}; pass "
            f"features.to({weights.dtype})."
        )
    tensors = {
        k: v.to(weights.device) for k, v in named.items() if isinstance(v, Tensor)
    }
    folded = folding(main, found, model, tensors, Clock.of(processor))
    seen = [Column(name, False, f" {name}") for name in folded.names]
    return tensors, seen, folded.place(0)


def _are_features(found: Any) -> TypeGuard[Tensor]:
    """Tell floats of one recording or picture."""
    return (
        isinstance(found, Tensor)
        and found.is_floating_point()
        and found.ndim >= 2
        and len(found) == 1
    )


def _check_written(count: int, limit: int | None) -> None:
    """Refuse more tokens than the decoder has positions for."""
    if limit is not None and count > limit:
        raise TextError(
            f"the decoder's start and {count - 1} tokens behind it are {count}, but "
            f"the model's decoder has {limit} positions. Explain fewer tokens."
        )
