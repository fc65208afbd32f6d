"""Texts to token ids: each checked, all of them in one call of the tokenizer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TextError, UnknownTokensWarning
from .given import Text

__all__ = ["Row", "check_text", "tokenised"]

Row = Mapping[str, list[int]]
"""What a tokenizer makes of one text."""


def tokenised(tokenizer: Any, texts: Sequence[Text], limit: int | None) -> list[Row]:
    """Tokenise texts, and pairs of texts.

    Args:
        tokenizer: A Hugging Face tokenizer.
        texts: At least one.
        limit: How many tokens one may have; None for any number.

    Returns:
        What the tokenizer makes of each. Refused is a text that is blank, no valid
        Unicode, becomes no token at all, or too many.
    """
    names = [
        f"text {number}" if len(texts) > 1 else "the text"
        for number in range(1, len(texts) + 1)
    ]
    for text, which in zip(texts, names, strict=True):
        _check_pieces(text, which)
    rows = _made(tokenizer, texts)
    for row, text, which in zip(rows, texts, names, strict=True):
        _check_length(row, text, which, limit)
        _warn_of_unknown(tokenizer, row, which)
    return rows


def _check_pieces(text: Text, which: str) -> None:
    names = ("", " (its second part)")
    for name, piece in zip(names, _pieces(text), strict=False):
        check_text(piece, which + name)


def _made(tokenizer: Any, texts: Sequence[Text]) -> list[Row]:
    """Return what the tokenizer makes of each text."""
    if not getattr(tokenizer, "is_fast", False):
        return [_called(tokenizer, *_pieces(text)) for text in texts]
    rows: dict[int, Row] = {}
    for kind in (str, tuple):  # a call takes texts alone, or pairs alone
        own = [number for number, text in enumerate(texts) if isinstance(text, kind)]
        if own:
            pieces = zip(*(_pieces(texts[number]) for number in own), strict=True)
            rows |= zip(
                own, _parted(_called(tokenizer, *map(list, pieces))), strict=True
            )
    return [rows[number] for number in range(len(texts))]


def _called(tokenizer: Any, *pieces: Any) -> Any:
    return tokenizer(
        *pieces,
        truncation=False,
        return_attention_mask=True,
        return_special_tokens_mask=True,
        verbose=False,
    )


def _parted(made: Any) -> list[Row]:
    """Return each text's part of what a fast tokenizer made of many."""
    kind = type(made)
    return [
        kind({name: made[name][number] for name in made}, encoding)
        for number, encoding in enumerate(made.encodings)
    ]


def _pieces(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _check_length(row: Row, text: Text, which: str, limit: int | None) -> None:
    """Refuse what the tokenizer made no token of, or too many.

    Raises:
        TextError: If it did.
    """
    length = len(row["input_ids"])
    said = " ".join(_pieces(text))
    if all(row["special_tokens_mask"]):
        raise TextError(f"{which} has no token in it: {_quote(said)}.")
    if limit is not None and length > limit:
        raise TextError(
            f"{which} has {length} tokens, but the model has {limit} positions: "
            f"{_quote(said)}. Shorten or split it, or pass stride= to explain() or "
            "compare(), which read it in windows that overlap."
        )


def _warn_of_unknown(tokenizer: Any, row: Row, which: str) -> None:
    """Warn if the tokenizer knows less than half of a text."""
    pairs = zip(row["input_ids"], row["special_tokens_mask"], strict=True)
    plain = [i for i, special in pairs if not special]
    nothing = getattr(tokenizer, "unk_token_id", None)
    unknown = sum(i == nothing for i in plain)
    if 2 * unknown > len(plain):
        warnings.warn(
            f"{unknown} of the {len(plain)} tokens of {which} are unknown to the "
            f"tokenizer ({tokenizer.unk_token}): the model has not read them.",
            UnknownTokensWarning,
            stacklevel=4,
        )


def check_text(text: str, which: str) -> None:
    """Refuse what no tokenizer can make sense of.

    Args:
        text: A text.
        which: What it is called in the message.

    Raises:
        TextError: If the text is blank or no valid Unicode.
    """
    if not text.strip():
        raise TextError(f"{which} is blank: {_quote(text)}. Pass at least one word.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{which} is no valid Unicode: {text[error.start]!a} at character "
            f"{error.start}. Was it read with the wrong encoding?"
        ) from error


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
