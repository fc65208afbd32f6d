"""Windows: a text of more tokens than a model has positions, cut as tokenizers cut."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from ..errors import ArgumentError, TextError
from .encoding import Encoded, encode, position_limit
from .given import Text

__all__ = ["Document", "Window", "check_stride", "documents"]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a text, in the frame of the whole: special tokens, a pair's first text.

    Attributes:
        encoded: What the model is shown, one example.
        places: The position in the document of each of its tokens.
        start: The first position of the document that is its own part.
        stop: The position behind its own part.
    """

    encoded: Encoded
    places: list[int]
    start: int
    stop: int

    def place_of(self, place: int) -> int:
        """Find a token of the document that the window has.

        Args:
            place: Its position in the document.

        Returns:
            Its position in the window.
        """
        return bisect_left(self.places, place)

    def context(self, place: int) -> int:
        """Count the tokens that a token of the text has on its poorer side.

        Args:
            place: A position of the document in the text that was cut.

        Returns:
            How many; -1 where the token is outside of the window.
        """
        return max(-1, min(place - self.start, self.stop - 1 - place))


@dataclass(frozen=True, eq=False)
class Document:
    """A text, and the windows in which a model reads it.

    Attributes:
        whole: All of its tokens, in one frame; no model is shown its batch.
        windows: One where it fits; else as many as it takes.
    """

    whole: Encoded
    windows: list[Window]

    def own(self, *places: int) -> int | None:
        """Find the window in which tokens have most context.

        Args:
            places: Positions of the document.

        Returns:
            The number of the first such window, since what frames the windows has as
            much context in each. None where no window has all of the tokens.
        """
        start, stop = self.windows[0].start, self.windows[-1].stop
        cut = [place for place in places if start <= place < stop]
        rooms = [
            min((window.context(place) for place in cut), default=0)
            for window in self.windows
        ]
        most = max(rooms)
        return None if most < 0 else rooms.index(most)


def check_stride(stride: object) -> None:
    """Refuse what is no number of tokens.

    Args:
        stride: How many tokens neighbouring windows are to have in common.

    Raises:
        ArgumentError: If it is no whole number, or negative.
    """
    if not isinstance(stride, Integral) or isinstance(stride, bool) or stride < 0:
        raise ArgumentError(
            f"stride={stride!r} must be a whole number of tokens, from 0 on, that "
            "neighbouring windows have in common."
        )


def documents(
    model: nn.Module, tokenizer: Any, texts: Sequence[Text], stride: int
) -> tuple[Encoded, list[Document]]:
    """Cut texts, and the second texts of pairs, where they are too long for a model.

    A stride that leaves a window no room, and a first text that does, are refused.

    Args:
        model: The model that is to take them.
        tokenizer: A Hugging Face tokenizer.
        texts: At least one.
        stride: How many tokens neighbouring windows have in common.

    Returns:
        All texts in one batch, longer than the model's positions perhaps; and each with
        its windows.
    """
    check_stride(stride)
    whole = encode(model, tokenizer, texts, bounded=False)
    limit = position_limit(model)
    found = []
    for row, tokens in enumerate(whole.tokens):
        start, stop = _cut(whole, row)
        spans = [(start, stop)]
        if limit is not None and len(tokens) > limit:
            which = f"text {row + 1}" if len(texts) > 1 else "the text"
            room = _room(limit, len(tokens), stop - start, stride, which)
            spans = _spans(start, stop, room, room - stride)
        found.append(_document(whole, row, spans))
    return whole, found


def _cut(whole: Encoded, row: int) -> tuple[int, int]:
    """Return where the text that may be cut starts, and where it stops."""
    parts = [0] * len(whole.tokens[row])
    if whole.segments is not None:
        parts = whole.segments[row]
    flags = whole.special[row]
    plain = [place for place, special in enumerate(flags) if not special]
    last = max(parts[place] for place in plain)
    places = [place for place in plain if parts[place] == last]
    return places[0], places[-1] + 1


def _room(limit: int, length: int, text: int, stride: int, which: str) -> int:
    """Return how many tokens of a text a window has room for.

    Raises:
        TextError: If a pair's first text leaves none for its second.
        ArgumentError: If the stride is not smaller.
    """
    frame = length - text
    if frame >= limit:
        raise TextError(
            f"{which} leaves no room for windows: special tokens and the first text of "
            f"a pair, which each window repeats, are {frame} tokens, and the model has "
            f"{limit} positions. Shorten the first text; stride= cuts the second."
        )
    if stride >= limit - frame:
        raise ArgumentError(
            f"stride={stride} must be smaller than a window's room, which is "
            f"{limit - frame} tokens of {which}: of the model's {limit} positions "
            f"{frame} go to special tokens and the first text of a pair. Pass a whole "
            f"number from 0 to {limit - frame - 1}."
        )
    return limit - frame


def _spans(start: int, stop: int, room: int, step: int) -> list[tuple[int, int]]:
    """Return the windows of a text, up to the first that reaches its end."""
    firsts = range(start, max(start + 1, stop - room + step), step)
    return [(first, min(first + room, stop)) for first in firsts]


def _document(whole: Encoded, row: int, spans: list[tuple[int, int]]) -> Document:
    length, stop = len(whole.tokens[row]), spans[-1][1]
    before, behind = range(spans[0][0]), range(stop, length)
    places = [[*before, *range(*span), *behind] for span in spans]
    windows = [
        Window(_taken(whole, row, at), at, *span)
        for at, span in zip(places, spans, strict=True)
    ]
    return Document(_taken(whole, row, range(length)), windows)


def _taken(whole: Encoded, row: int, places: Sequence[int]) -> Encoded:
    """Return an example of some tokens of another."""

    def taken(value: Tensor) -> Tensor:
        return value[row : row + 1][:, list(places)]

    if isinstance(whole.batch, Tensor):
        batch: Any = taken(whole.batch)
    else:
        shape = whole.batch["input_ids"].shape
        batch = {
            name: taken(value) if value.shape[:2] == shape else value[row : row + 1]
            for name, value in whole.batch.items()
        }
    row_alone = whole.chosen(batch, [row])
    if len(places) == len(whole.tokens[row]):
        return row_alone

    def of(lists: list[list[Any]]) -> list[list[Any]]:
        return [[each[place] for place in places] for each in lists]

    parts = row_alone.segments
    return Encoded(
        batch=batch,
        tokens=of(row_alone.tokens),
        special=of(row_alone.special),
        segments=None if parts is None else of(parts),
    )
