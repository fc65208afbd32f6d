"""Tokens by name: as a vocabulary writes them, or as a text does."""

from __future__ import annotations

from typing import Any

from ..errors import TargetError
from ..support.marks import BYTE_LEVEL, SENTENCEPIECE
from ..support.suggest import did_you_mean
from ..texts.spans import vocabulary_mark

__all__ = ["token_named"]

SPACED = (BYTE_LEVEL, SENTENCEPIECE)
"""Marks that stand for the space before a word."""

MOST_DIGITS = 19  # of an id; Python refuses to read some thousands


def token_named(tokenizer: Any, name: str) -> int:
    """Find a token of the vocabulary.

    Args:
        tokenizer: The tokenizer.
        name: A token, the text of one, or the digits of its id.

    Returns:
        The id.

    Raises:
        TargetError: If there is no such token, the text is several, or there is no
            tokenizer to tell.
    """
    if tokenizer is None:
        raise TargetError(
            f"target={name!r} is the name of a token, and there is no tokenizer to "
            "tell its id. Pass the id, a number."
        )
    mark = vocabulary_mark(tokenizer)
    # A word is written with the space before it, where the tokenizer tells spaces.
    spaced = f"{mark}{name}" if mark in SPACED else name
    for spelling in (spaced, name):
        found = _id_of(tokenizer, spelling)
        if found is not None:
            return found
    ids = tokenizer(name, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] not in tokenizer.all_special_ids:
        return int(ids[0])
    vocabulary = tokenizer.get_vocab()  # of a million tokens, so that it comes last
    digits = name.isascii() and name.isdecimal() and len(name) < MOST_DIGITS
    if digits and int(name) in vocabulary.values():
        return int(name)
    pieces = tokenizer.convert_ids_to_tokens(ids[:8])
    raise TargetError(
        f"target={name!r} is no single known token of this model, but "
        f"{', '.join(map(repr, pieces)) or 'none'}. Take one token, or its id."
        f"{did_you_mean(name, vocabulary)}"
    )


def _id_of(tokenizer: Any, token: str) -> int | None:
    """Return a token's id; None for what the vocabulary does not spell so."""
    found = tokenizer.convert_tokens_to_ids(token)
    spelled = None if found is None else tokenizer.convert_ids_to_tokens(found)
    return found if spelled == token else None
