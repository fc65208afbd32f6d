"""Texts of a portion in batches: of similar length, with a bound on their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["batches", "lengths"]


def lengths(tokenizer: Any, texts: Sequence[Any]) -> list[int | None]:
    """Count the tokens of each text.

    Args:
        tokenizer: A Hugging Face tokenizer.
        texts: Texts, pairs of texts, and what is neither.

    Returns:
        The numbers; None for what no tokenizer takes, which `explain` refuses.
    """
    counts: list[int | None] = [None] * len(texts)
    for kind in (str, tuple):
        own = [number for number, text in enumerate(texts) if _is_plain(text, kind)]
        columns = (
            zip(*(texts[n] for n in own), strict=True)
            if kind is tuple
            else [[texts[n] for n in own]]
        )
        if own:
            made = tokenizer(
                *map(list, columns), truncation=False, padding=False, verbose=False
            )
            for number, ids in zip(own, made["input_ids"], strict=True):
                counts[number] = len(ids)
    return counts


def _is_plain(text: Any, kind: type) -> bool:
    """Return whether a tokenizer takes this, among texts or among pairs of texts."""
    if kind is str:
        return isinstance(text, str) and bool(text.strip()) and _is_unicode(text)
    pair = isinstance(text, tuple) and len(text) == 2
    return pair and all(_is_plain(each, str) for each in text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def batches(
    counts: Sequence[int | None], tokens: int | None, most: int
) -> list[list[int]]:
    """Put texts of similar length together.

    Args:
        counts: The tokens of each text; None for what is to stand alone.
        tokens: How many tokens a batch may have, padding included; a longer text
            stands alone. None for any number.
        most: How many texts a batch may have.

    Returns:
        The numbers of the texts of each batch, the shortest texts first.
    """
    found = [[number] for number, count in enumerate(counts) if count is None]
    known = [(count, n) for n, count in enumerate(counts) if count is not None]
    batch: list[int] = []
    for count, number in sorted(known):
        size = len(batch) + 1
        if batch and (size > most or (tokens is not None and size * count > tokens)):
            found.append(batch)
            batch = []
        batch.append(number)
    return [*found, batch] if batch else found
