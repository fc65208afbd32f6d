"""Positions in a text, by number or by word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import TargetError
from ..support.numbers import is_whole
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
    return int(wanted)


def _place_of_word(asked: Asked, word: str, row: int) -> int:
    if asked.encoded is None or asked.ids is None:
        raise TargetError(
            f"target names the word {word!r}, which only a tokenizer can find; pass "
            "tokenizer=, or its position."
        )
    ids = asked.ids[row].tolist()
    found: set[int] = set()
    for spelling in (word, f" {word}"):
        part = asked.tokenizer(spelling, add_special_tokens=False)["input_ids"]
        found |= {
            start
            for start in range(len(ids) - len(part) + 1)
            if part and ids[start : start + len(part)] == part
        }
    places = sorted(found & set(asked.free(row)))
    if len(places) != 1:
        many = f"stands at the positions {places}" if places else "is not in it"
        raise TargetError(
            f"target names the word {word!r}, which {many}: the text has the tokens "
            f"{asked.encoded.tokens[row]}. Pass a position."
        )
    return places[0]


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
