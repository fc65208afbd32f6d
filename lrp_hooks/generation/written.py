"""What a model wrote, and what stands before it: the columns of the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..support import marks
from ..texts.devices import device_of
from ..texts.encoding import read_tokens
from ..texts.spans import pieces, vocabulary_mark
from .model import check_ids, check_length, greedy, vocabulary
from .tokens import Prompt, Text, as_ids, forced, read_prompt

__all__ = ["Column", "Written", "by_decoder", "columns", "columns_of_prompt"]


@dataclass(frozen=True)
class Column:
    """A place that relevance is read at.

    Attributes:
        token: Its token, or what else it is called.
        special: Whether it is a special one.
        piece: The text that it stands for.
    """

    token: str
    special: bool
    piece: str


@dataclass(frozen=True, eq=False)
class Written:
    """What a model wrote, and what stands before it.

    Attributes:
        inputs: What the model is called with, without the last token.
        columns: All places, those of what the model wrote last.
        generated: The ids of what it wrote.
        vocabulary: How many tokens it could have written.
        wrt: The inputs that are read; None for the main one.
        meta: What is to be said of it.
    """

    inputs: Mapping[str, Tensor]
    columns: Sequence[Column]
    generated: list[int]
    vocabulary: int
    wrt: Sequence[str] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """How many places stand before what the model wrote."""
        return len(self.columns) - len(self.generated)


def by_decoder(
    model: nn.Module,
    tokenizer: Any,
    prompt: Any,
    chat: bool,
    max_new_tokens: int | None,
    continuation: Any,
) -> Written:
    """Let a decoder go on, or take what follows the prompt.

    Args:
        model: A decoder.
        tokenizer: Its tokenizer.
        prompt: See `explain_generation`.
        chat: See `explain_generation`.
        max_new_tokens: How many tokens the model writes; None if what follows is given.
        continuation: What follows.

    Returns:
        What it wrote, behind the prompt.
    """
    given = read_prompt(tokenizer, prompt, chat)
    rows = vocabulary(model)
    device = device_of(model)
    check_ids(given.ids, rows)
    if max_new_tokens is None:
        text = forced(tokenizer, given, continuation)
        check_ids(text.ids, rows)
        check_length(model, text.start, len(text.generated))
    else:
        check_length(model, len(given.ids), max_new_tokens)
        written = greedy(model, as_ids(given.ids, device), max_new_tokens)
        text = Text(given, [*given.ids, *written], len(given.ids))
    return Written(
        inputs={"input_ids": as_ids(text.ids[:-1], device)},
        columns=columns_of_prompt(tokenizer, text.known, text.ids),
        generated=text.generated,
        vocabulary=rows,
        meta={"merged": text.merged},
    )


def columns(tokenizer: Any, ids: Sequence[int]) -> list[Column]:
    """Name tokens, each with what it spells.

    Args:
        tokenizer: The tokenizer.
        ids: Their ids.

    Returns:
        A column for each.
    """
    encoded = read_tokens(tokenizer, torch.tensor([ids]))
    assert encoded is not None
    tokens, special = encoded.tokens[0], encoded.special[0]
    spelled = marks.pieces(tokens, special, vocabulary_mark(tokenizer))
    return [Column(*row) for row in zip(tokens, special, spelled, strict=True)]


def columns_of_prompt(
    tokenizer: Any, known: Prompt, ids: Sequence[int]
) -> list[Column]:
    """Name tokens, each of a known text with the part that it stands for.

    Args:
        tokenizer: The tokenizer.
        known: A text.
        ids: Its ids, and others that follow.

    Returns:
        A column for each.
    """
    named, count = columns(tokenizer, ids), len(known.ids)
    found = pieces(
        known.encoding,
        [known.text],
        [column.token for column in named[:count]],
        [column.special for column in named[:count]],
        vocabulary_mark(tokenizer),
    )
    first = zip(named, found, strict=False)
    return [
        *(Column(column.token, column.special, piece) for column, piece in first),
        *named[count:],
    ]
