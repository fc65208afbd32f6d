"""Tokens merged to whole words: those of the text that the tokens stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..support import marks
from ..support.marks import subword_mark

__all__ = ["Grouping", "group", "line_breaks", "read_pieces", "subword_mark"]

# Chinese characters and Japanese letters, which are words wherever a token begins.
_SPACELESS = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_BREAK = re.compile("\r(?!\n|$)|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which positions make which word.

    Args:
        words: ``B`` lists of words.
        special: ``B`` lists of booleans: is the word a special token?
        columns: The word that each position belongs to, ``[B, T]``; the last column,
            ``width``, takes what is dropped.
        width: ``W``, the number of columns of the result.
        pieces: ``B`` lists: what each word stands for, its white space included.
    """

    words: list[list[str]]
    special: list[list[bool]]
    columns: Tensor
    width: int
    pieces: list[list[str]] = field(default_factory=list)

    @property
    def attended(self) -> Tensor:
        """Boolean ``[B, W]``: false where an example has no more words."""
        attended = torch.zeros(len(self.words), self.width + 1, dtype=torch.bool)
        return attended.scatter(1, self.columns, True)[:, : self.width]

    def of_words(self, notes: Sequence[Sequence[int]]) -> list[list[int]]:
        """Note of each word what is noted of its tokens.

        Args:
            notes: ``B`` lists of numbers, one for each token; those of a word agree.

        Returns:
            ``B`` lists, one for each word.
        """
        found = []
        for columns, row in zip(self.columns.tolist(), notes, strict=True):
            known = dict(zip(columns, row, strict=False))
            known.pop(self.width, None)
            found.append([known[word] for word in sorted(known)])
        return found

    def fold(self, values: Tensor) -> Tensor:
        """Sum the positions of each word.

        Args:
            values: ``[B, T, ...]``.

        Returns:
            ``[B, W, ...]``, in the same dtype; the sums are taken in float64.
        """
        columns = self.columns.to(values.device)
        columns = columns.reshape(*columns.shape, *[1] * (values.dim() - 2))
        sums = values.new_zeros(
            (values.shape[0], self.width + 1, *values.shape[2:]), dtype=torch.float64
        )
        sums.scatter_add_(1, columns.expand_as(values), values.double())
        return sums[:, : self.width].to(values.dtype)


def group(
    tokens: Sequence[Sequence[str]],
    *,
    length: int,
    special: Sequence[Sequence[bool]] | None = None,
    attended: Tensor | None = None,
    mark: str | None = None,
    pieces: Sequence[Sequence[str]] | None = None,
) -> Grouping:
    """Find the words of tokenised texts: what stands between white space.

    Chinese characters and Japanese letters are words, as far as tokens part them.

    Args:
        tokens: ``B`` lists of tokens.
        length: ``T``, the number of positions that have scores. Positions after the
            longest list (an explainer's extra columns) stay as last columns.
        special: Special tokens, which stay alone; by their look if not given.
        attended: Boolean ``[B, T]``; positions that are not attended are dropped.
        mark: What `subword_mark` returned; that of the tokens if not given.
        pieces: ``B`` lists: the text that each token stands for, its white space
            included; by the mark if not given.

    Returns:
        The words, and the columns to which positions go.
    """
    if special is None:
        special = [list(map(marks.looks_special, row)) for row in tokens]
    texts = read_pieces(tokens, special, mark, pieces)
    seen = (
        attended.tolist() if attended is not None else [[True] * length] * len(tokens)
    )
    spans = [
        _spans(row, alone, kept)
        for row, alone, kept in zip(texts, special, seen, strict=True)
    ]
    longest = max(map(len, tokens), default=0)
    widest = max(map(len, spans), default=0)
    width = widest + length - longest
    columns = torch.full((len(tokens), length), width)
    columns[:, longest:] = torch.arange(widest, width)
    for b, row in enumerate(spans):
        for column, span in enumerate(row):
            columns[b, span] = column
    merged = Grouping([], [], columns, width, [])
    for words, names, alone, text in zip(spans, tokens, special, texts, strict=True):
        merged.words.append([_name(names, alone, text, span) for span in words])
        merged.special.append([alone[span[0]] for span in words])
        merged.pieces.append(["".join(text[t] for t in span) for span in words])
    return merged


def read_pieces(
    tokens: Sequence[Sequence[str]],
    special: Sequence[Sequence[bool]] | None = None,
    mark: str | None = None,
    pieces: Sequence[Sequence[str]] | None = None,
) -> Sequence[Sequence[str]]:
    """Tell what each token stands for.

    Args:
        tokens: ``B`` lists of tokens.
        special: Special tokens; by their look if not given.
        mark: What `subword_mark` returned; that of the tokens if not given.
        pieces: What the tokens are known to stand for, if it is known.

    Returns:
        ``B`` lists: ``pieces``, or what the marks of the tokens say.
    """
    if pieces is not None and list(map(len, pieces)) == list(map(len, tokens)):
        return pieces
    if special is None:
        special = [list(map(marks.looks_special, row)) for row in tokens]
    if mark is None:
        mark = subword_mark([token for row in tokens for token in row])
    return [
        marks.pieces(row, [*alone, *[False] * len(row)][: len(row)], mark)
        for row, alone in zip(tokens, special, strict=True)
    ]


def line_breaks(pieces: Sequence[str]) -> list[int]:
    """Count the line breaks before each token.

    Args:
        pieces: What tokens stand for. One that stands for line breaks alone is itself
            in the line that it ends.

    Returns:
        A number for each.
    """
    counts, owed = [], 0
    for piece in pieces:
        ink = piece.strip()
        head, _, tail = piece.partition(ink) if ink else ("", "", piece)
        counts.append(owed + len(_BREAK.findall(head)))
        owed = len(_BREAK.findall(tail))
    return counts


def _spans(
    pieces: Sequence[str], alone: Sequence[bool], kept: Sequence[bool]
) -> list[list[int]]:
    """Return the positions of each word of one text."""
    spans: list[list[int]] = []
    text = ""  # of the last word
    for t, piece in enumerate(pieces):
        if not kept[t]:
            continue
        apart = not spans or alone[t] or alone[spans[-1][0]]
        if apart or _begins(text, piece):
            spans.append([t])
            text = piece
        else:
            spans[-1].append(t)
            text += piece
    return _closed(spans, pieces, alone)


def _begins(before: str, piece: str) -> bool:
    """Return whether a token begins another word than that before it."""
    if not before.strip() or not piece:
        return False
    here, there = before[-1], piece[0]
    if here.isspace() or there.isspace():
        return True
    return any(map(_SPACELESS.match, (here, there)))


def _closed(
    spans: list[list[int]], pieces: Sequence[str], alone: Sequence[bool]
) -> list[list[int]]:
    """Return words with the white space at their end, where no word follows."""
    closed: list[list[int]] = []
    for span in spans:
        blank = not any(pieces[t].strip() or alone[t] for t in span)
        if blank and closed and not alone[closed[-1][0]]:
            closed[-1] += span
        else:
            closed.append(span)
    return closed


def _name(
    tokens: Sequence[str],
    alone: Sequence[bool],
    pieces: Sequence[str],
    span: Sequence[int],
) -> str:
    """Return the word at positions."""
    text = "".join(pieces[t] for t in span)
    if alone[span[0]] or not text:
        return "".join(tokens[t] for t in span)
    return text.strip() or text
