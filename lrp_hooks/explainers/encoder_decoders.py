"""Both sides of an encoder-decoder: what is read, then what was said so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..attribution.inputs import is_encoder_decoder
from ..errors import ArgumentError, TextError
from ..results.explanation import Explanation
from ..texts.decoding import DECODER, with_decoder
from ..texts.encoding import Encoded, is_language_model
from ..texts.spans import pieces_of_each

__all__ = ["SIDES", "check_continues", "joined", "said_so_far"]

SIDES = ("input_ids", DECODER)
"""The inputs that have content in an encoder-decoder of text."""


def check_continues(decoder: Any, texts: Any, stride: object) -> None:
    """Refuse what a decoder has said beside something else than whole texts.

    Args:
        decoder: What it has said.
        texts: The texts; None where the inputs are something else.
        stride: See `explain`.

    Raises:
        ArgumentError: If it is so.
    """
    if texts is None:
        raise ArgumentError(
            f"decoder={decoder!r:.60} continues texts, and inputs_or_text holds none. "
            "Pass a text; a batch has decoder_input_ids of its own."
        )
    if stride is not None:
        raise ArgumentError(
            f"stride={stride!r} cuts a text into windows, but decoder= was written of "
            "the whole one. Leave one of them out."
        )


def said_so_far(
    model: nn.Module, tokenizer: Any, encoded: Encoded, decoder: Any
) -> Encoded:
    """Put what a decoder has said so far beside texts, where a model has a decoder.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        encoded: The texts.
        decoder: A text for all of them, one for each, or None for nothing yet.

    Returns:
        The batch, with the decoder's side.

    Raises:
        ArgumentError: If the model has no decoder that writes beside an encoder, or
            what it has said is no text.
        TextError: If there are more or fewer than texts.
    """
    if not (is_encoder_decoder(model) and is_language_model(model)):
        if decoder is None:
            return encoded
        raise ArgumentError(
            f"decoder={decoder!r:.60} is what an encoder-decoder has written so far, "
            f"but {type(model).__name__} is no such model that writes. Leave decoder= "
            "out; a decoder alone goes on from the text."
        )
    count = len(encoded.tokens)
    if decoder is None:
        return with_decoder(model, tokenizer, encoded, None)
    said = [decoder] * count if isinstance(decoder, str) else decoder
    listed = isinstance(said, Sequence) and all(isinstance(s, str) for s in said)
    if not listed:
        raise ArgumentError(
            f"decoder is {decoder!r:.60}; it must be a text, or one for each text. "
            "Token ids come in a batch, as decoder_input_ids."
        )
    if len(said) != count:
        raise TextError(
            f"decoder has {len(said)} texts for {count}; pass one for all, or {count}."
        )
    return with_decoder(model, tokenizer, encoded, said)


def joined(found: Explanation, encoded: Encoded, mark: str | None) -> Explanation:
    """Put the scores of both sides into one row: the encoder's tokens come first.

    Args:
        found: Scores of `SIDES`.
        encoded: The batch, with the tokens of both.
        mark: The tokenizer's, see `vocabulary_mark`.

    Returns:
        The explanation with its tokens. ``meta["segments"]`` has the decoder's number
        behind those of the encoder's texts.
    """
    said, scores = encoded.decoder, found.scores
    assert said is not None and isinstance(scores, Mapping)
    sides = list(zip(encoded.tokens, said.tokens, strict=True))
    rows = [
        torch.cat([scores[SIDES[0]][b, : len(read)], scores[SIDES[1]][b, : len(wrote)]])
        for b, (read, wrote) in enumerate(sides)
    ]
    seen = [
        torch.cat([_seen(encoded, b, len(read)), _seen(said, b, len(wrote))])
        for b, (read, wrote) in enumerate(sides)
    ]
    before = encoded.segments or [[0] * len(read) for read, _ in sides]
    segments = zip(before, said.tokens, strict=True)
    pieces = zip(pieces_of_each(encoded, mark), _lines(said, mark), strict=True)
    special = zip(encoded.special, said.special, strict=True)
    meta = {
        "special": [[*read, *wrote] for read, wrote in special],
        "segments": [[*a, *[max(a) + 1] * len(wrote)] for a, wrote in segments],
        "subwords": mark,
        "pieces": [[*read, *wrote] for read, wrote in pieces],
    }
    return replace(
        found,
        scores=pad_sequence(rows, batch_first=True),
        tokens=[[*read, *wrote] for read, wrote in sides],
        attended=pad_sequence(seen, batch_first=True).to(rows[0].device),
        meta={**found.meta, **meta},
    )


def _seen(side: Encoded, b: int, count: int) -> Tensor:
    """Return which tokens of a side are no padding, boolean [T]."""
    mask = side.batch.get("attention_mask")
    if mask is None:
        return torch.ones(count, dtype=torch.bool)
    seen: Tensor = mask[b, :count].cpu() != 0
    return seen


def _lines(said: Encoded, mark: str | None) -> list[list[str]]:
    """Return what a decoder's tokens stand for, in a line of their own."""
    rows = pieces_of_each(said, mark)
    for row, names, flags in zip(rows, said.tokens, said.special, strict=True):
        row[0] = f"\n{names[0] if flags[0] else row[0]}"
    return rows
