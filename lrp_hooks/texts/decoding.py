"""The decoder's side of an encoder-decoder: where it starts, what it has said."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..errors import TextError
from .encoding import Encoded, check_text, position_limit, read_tokens

__all__ = [
    "DECODER",
    "decoder_ids",
    "decoder_start",
    "position_limits",
    "with_decoder",
    "with_decoder_read",
]

DECODER = "decoder_input_ids"
"""What models call the ids of what a decoder has said so far."""
MASK = "decoder_attention_mask"


def decoder_start(model: nn.Module) -> int | None:
    """Find the token that a model's decoder starts with.

    Args:
        model: Any module; only a Hugging Face model says so.

    Returns:
        Its id; None where nothing says it.
    """
    for holder in ("generation_config", "config"):
        settings = getattr(model, holder, None)
        found = getattr(settings, "decoder_start_token_id", None)
        if isinstance(found, int):
            return found
    return None


def position_limits(model: Any) -> tuple[int | None, int | None]:
    """Find how many tokens either side of a model has positions for.

    Args:
        model: An encoder-decoder.

    Returns:
        Those of the encoder and of the decoder, or ``None`` where nothing bounds them.
    """
    return (
        _limit(model, model.get_encoder(), ("max_encoder_position_embeddings",)),
        _limit(
            model,
            model.get_decoder(),
            ("max_decoder_position_embeddings", "max_target_positions"),
        ),
    )


def _limit(model: Any, side: nn.Module, names: Sequence[str]) -> int | None:
    config = getattr(side, "config", model.config)
    named = (getattr(config, name, None) for name in names)
    own = next((limit for limit in named if isinstance(limit, int)), None)
    return position_limit(side) if own is None else own


def decoder_ids(
    model: nn.Module, tokenizer: Any, text: str | None, argument: str
) -> list[int]:
    """Tokenise what a decoder has said so far, behind the token that it starts with.

    The text is read as one of the target language, where the tokenizer tells. Special
    tokens that it puts before a text, such as a language's, stay; those behind it
    would end the text.

    Args:
        model: An encoder-decoder.
        tokenizer: Its Hugging Face tokenizer.
        text: The text; None for nothing yet.
        argument: What the text is called in messages.

    Returns:
        The ids, the decoder's start first.

    Raises:
        TextError: If the text is blank, no valid Unicode or no token at all, or
            nothing says what the decoder starts with.
    """
    start = decoder_start(model)
    if start is None:
        raise TextError(
            f"{type(model).__name__} does not say which token its decoder starts with. "
            "Set model.generation_config.decoder_start_token_id."
        )
    if text is None:
        return [start]
    check_text(text, argument)
    made = tokenizer(
        text_target=text,
        truncation=False,
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids, added = list(made["input_ids"]), list(made["special_tokens_mask"])
    if all(added):
        raise TextError(f"{argument} has no token in it: {text!r:.40}.")
    while added[-1]:
        del ids[-1], added[-1]
    # Of some families the tokenizer adds the start itself.
    return ids if added[0] and ids[0] == start else [start, *ids]


def with_decoder(
    model: nn.Module, tokenizer: Any, encoded: Encoded, said: Sequence[str] | None
) -> Encoded:
    """Put beside each text what the decoder has said so far, padded on the right.

    Args:
        model: An encoder-decoder with a language-model head.
        tokenizer: Its tokenizer.
        encoded: The texts.
        said: What it has said of each; None for nothing yet.

    Returns:
        The batch of both.

    Raises:
        TextError: If what it said is longer than the decoder has positions, or of
            several lengths where the model takes no mask of it.
    """
    count = len(encoded.tokens)
    texts = [None] * count if said is None else said
    rows = []
    for number, text in enumerate(texts, start=1):
        which = f"decoder text {number}" if count > 1 else "decoder"
        rows.append(torch.tensor(decoder_ids(model, tokenizer, text, which)))
    limit, longest = position_limits(model)[1], max(map(len, rows))
    if limit is not None and longest > limit:
        raise TextError(
            f"decoder has {longest} tokens with the one that it starts with, but the "
            f"model's decoder has {limit} positions. Shorten it."
        )
    batch = {**encoded.batch, DECODER: pad_sequence(rows, True)}
    if min(map(len, rows)) < longest:
        if MASK not in inspect.signature(model.forward).parameters:
            raise TextError(
                f"the decoder's texts differ in length, and {type(model).__name__}."
                f"forward takes no {MASK}. Explain them one by one."
            )
        batch[MASK] = pad_sequence([torch.ones_like(row) for row in rows], True)
    device = batch["input_ids"].device
    batch |= {name: batch[name].to(device) for name in (DECODER, MASK) if name in batch}
    found = with_decoder_read(tokenizer, replace(encoded, batch=batch))
    assert found.decoder is not None
    for flags in found.decoder.special:
        flags[0] = True
    return found


def with_decoder_read(tokenizer: Any, encoded: Encoded) -> Encoded:
    """Name the tokens that a decoder has said so far, where a batch has such.

    Args:
        tokenizer: The tokenizer.
        encoded: A batch with the encoder's tokens.

    Returns:
        The same with the decoder's.
    """
    batch = encoded.batch
    if not isinstance(batch, Mapping) or DECODER not in batch:
        return encoded
    said = {"input_ids": batch[DECODER], "attention_mask": batch.get(MASK)}
    return replace(encoded, decoder=read_tokens(tokenizer, said))
