"""Positions in a text, by number or by word."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import TargetError
from ..results.words import group
from ..support.numbers import is_whole
from ..texts.spans import pieces_of_each, vocabulary_mark
from .asked import Asked

__all__ = ["place_of", "repeated"]


def place_of(asked: Asked, wanted: Any, row: int, length: int) -> int:
    """Find a position.

    Args:
        asked: The question.
        wanted: A position, or a word of the text: then its first token is meant.
        row: The example.
        length: How many positions there are.

    Returns:
        The position.

    Raises:
        TargetError: If there is no such position, or not exactly one such word.
    """
    if isinstance(wanted, str):
        return _place_of_word(asked, wanted, row)
    if asked.encoded is not None:
        length = min(length, len(asked.encoded.tokens[row]))  # the rest is padding
    if not is_whole(wanted) or not 0 <= int(wanted) < length:
        raise TargetError(
            f"target names the position {wanted!r}; it must be a whole number from 0 "
            f"to {length - 1}, or a word of the text."
        )
    named = isinstance(asked.batch, Mapping)
    mask = asked.batch.get("attention_mask") if named else None
    if isinstance(mask, Tensor) and mask.ndim == 2 and not mask[row, int(wanted)]:
        raise TargetError(
            f"target names the position {wanted!r} of example {row}, which is padding; "
            "name one that holds a token."
        )
    return int(wanted)


def _place_of_word(asked: Asked, word: str, row: int) -> int:
    if asked.encoded is None:
        raise TargetError(
            f"target names the word {word!r}, which only a tokenizer can find; pass "
            "tokenizer=, or its position."
        )
    tokens, special = asked.encoded.tokens[row], asked.encoded.special[row]
    pieces = pieces_of_each(asked.encoded, vocabulary_mark(asked.tokenizer))[row]
    found = group([tokens], length=len(tokens), special=[special], pieces=[pieces])
    words = [_bare(each) for each in found.words[0]]
    plain = [w for w, alone in enumerate(found.special[0]) if not alone]
    same = [w for w in plain if words[w] == _bare(word)]
    same = same or [w for w in plain if words[w].lower() == _bare(word).lower()]
    columns = found.columns[0].tolist()
    places = [columns.index(w) for w in same]
    # Punctuation is glued to a word, and special tokens are in none.
    places = places or [t for t, token in enumerate(tokens) if token == word]
    if len(places) != 1:
        many = f"stands at the positions {places}" if places else "is not in it"
        raise TargetError(
            f"target names the word {word!r}, which {many}: the text has the tokens "
            f"{tokens}. Pass a position."
        )
    return places[0]


def _bare(word: str) -> str:
    """Return a word without the punctuation around it."""
    return word.strip(string.punctuation) or word


def repeated(asked: Asked, rows: list[int]) -> Asked:
    """Ask of examples again and again.

    Args:
        asked: The question.
        rows: The examples, in the order in which they are asked about.

    Returns:
        The question about a batch of them.
    """

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor) and asked.ids is not None:
            fits = value.ndim > 0 and len(value) == len(asked.ids)
            return value[torch.tensor(rows, device=value.device)] if fits else value
        return value

    if isinstance(asked.batch, Mapping):
        batch: Any = {key: chosen(value) for key, value in asked.batch.items()}
    else:
        batch = chosen(asked.batch)
    encoded = asked.encoded
    if encoded is not None:
        encoded = encoded.chosen(batch, rows)
    return replace(asked, batch=batch, encoded=encoded)
