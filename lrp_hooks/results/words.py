"""Sub-word tokens merged to whole words, by the marks that tokenizers leave on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import torch
from torch import Tensor

__all__ = ["Grouping", "group", "subword_mark"]

WORDPIECE, SENTENCEPIECE, BYTE_LEVEL = "##", "▁", "Ġ"
MARKS = (WORDPIECE, SENTENCEPIECE, BYTE_LEVEL)
# Byte-level vocabularies write the white space before a word as these.
_BYTE_LEVEL_SPACES = ("Ġ", "Ċ", "ĉ", "č")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Chinese characters and Japanese letters, on either side.
_SPACELESS = re.compile(
    ".?[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SPECIAL = re.compile(r"\[[A-Z]+\d*\]|</?[a-z]+>|<\|[^|]+\|>")


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which positions make which word.

    Args:
        words: ``B`` lists of words.
        special: ``B`` lists of booleans: is the word a special token?
        columns: The word that each position belongs to, ``[B, T]``; the last column,
            ``width``, takes what is dropped.
        width: ``W``, the number of columns of the result.
    """

    words: list[list[str]]
    special: list[list[bool]]
    columns: Tensor
    width: int

    @property
    def attended(self) -> Tensor:
        """Boolean ``[B, W]``: false where an example has no more words."""
        attended = torch.zeros(len(self.words), self.width + 1, dtype=torch.bool)
        return attended.scatter(1, self.columns, True)[:, : self.width]

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


def subword_mark(tokens: Iterable[str]) -> str | None:
    """Tell by which mark these tokens say that they are parts of words.

    Args:
        tokens: Tokens of a text or, which is surer, a whole vocabulary.

    Returns:
        ``"##"`` (WordPiece), ``"▁"`` (SentencePiece), ``"Ġ"`` (byte-level BPE), or
        ``None`` where no token has a mark, and so each is a word.
    """
    counts = Counter(t[: len(m)] for t in tokens for m in MARKS if t.startswith(m))
    return counts.most_common(1)[0][0] if counts else None


def group(
    tokens: Sequence[Sequence[str]],
    *,
    length: int,
    special: Sequence[Sequence[bool]] | None = None,
    attended: Tensor | None = None,
    mark: str | None = None,
) -> Grouping:
    """Find the words of tokenised texts.

    Args:
        tokens: ``B`` lists of tokens.
        length: ``T``, the number of positions that have scores. Positions after the
            longest list (an explainer's extra columns) stay as last columns.
        special: Special tokens, which stay alone; by their look if not given.
        attended: Boolean ``[B, T]``; positions that are not attended are dropped.
        mark: One of ``MARKS``; the most frequent one if not given.

    Returns:
        The words, and the columns to which positions go.
    """
    if mark is None:
        mark = subword_mark(token for row in tokens for token in row)
    if special is None:
        special = [[bool(_SPECIAL.fullmatch(t)) for t in row] for row in tokens]
    seen = (
        attended.tolist() if attended is not None else [[True] * length] * len(tokens)
    )
    spans = [
        _spans(row, alone, kept, mark)
        for row, alone, kept in zip(tokens, special, seen, strict=True)
    ]
    longest = max(map(len, tokens), default=0)
    widest = max(map(len, spans), default=0)
    width = widest + length - longest
    columns = torch.full((len(tokens), length), width)
    columns[:, longest:] = torch.arange(widest, width)
    for b, row in enumerate(spans):
        for column, span in enumerate(row):
            columns[b, span] = column
    words = [
        [_text([row[t] for t in span], mark) for span in found]
        for row, found in zip(tokens, spans, strict=True)
    ]
    flags = [
        [alone[span[0]] for span in found]
        for alone, found in zip(special, spans, strict=True)
    ]
    return Grouping(words, flags, columns, width)


def _spans(
    tokens: Sequence[str],
    alone: Sequence[bool],
    kept: Sequence[bool],
    mark: str | None,
) -> list[list[int]]:
    """Return the positions of each word of one text."""
    spans: list[list[int]] = []
    for t, token in enumerate(tokens):
        if not kept[t]:
            continue
        last = spans[-1] if spans else None
        before = [] if last is None else [tokens[i] for i in last]
        if last is None or alone[t] or alone[last[0]] or _parts(before, token, mark):
            spans.append([t])
        elif _continues(token, mark) or _is_space(before, mark):
            last.append(t)
        else:
            spans.append([t])
    return spans


def _continues(token: str, mark: str | None) -> bool:
    """Return whether a token goes on with the word before it."""
    if mark == WORDPIECE:
        return token.startswith(WORDPIECE) and token != WORDPIECE
    if mark == SENTENCEPIECE:
        return not token.startswith(SENTENCEPIECE)
    return mark == BYTE_LEVEL and not token.startswith(_BYTE_LEVEL_SPACES)


def _parts(before: Sequence[str], token: str, mark: str | None) -> bool:
    """Return whether a token begins a word in a script that writes no spaces."""
    if mark == WORDPIECE:
        return False  # which marks what goes on, in every script
    written = _text(before, mark)
    if not written or written.endswith(REPLACEMENT):
        return False  # within a character
    return _SPACELESS.match(_text([token], mark)[:1] + written[-1]) is not None


def _is_space(tokens: Sequence[str], mark: str | None) -> bool:
    """Return whether tokens are white space, which belongs to the next word."""
    if mark == SENTENCEPIECE:
        return not "".join(tokens).strip(SENTENCEPIECE)
    return mark == BYTE_LEVEL and not "".join(tokens).strip("".join(_BYTE_LEVEL_SPACES))


def _text(tokens: Sequence[str], mark: str | None) -> str:
    """Return the word that tokens spell."""
    if mark == WORDPIECE:
        return tokens[0] + "".join(t.removeprefix(WORDPIECE) for t in tokens[1:])
    if mark == SENTENCEPIECE:
        text = _with_byte_tokens(tokens).replace(SENTENCEPIECE, " ")
    elif mark == BYTE_LEVEL:
        text = _from_byte_level("".join(tokens))
    else:
        text = "".join(tokens)
    return text.strip() or text


def _with_byte_tokens(tokens: Sequence[str]) -> str:
    """Return tokens joined, where ``<0xC3> <0xA9>`` spell one character."""
    parts = []
    for is_byte, run in groupby(tokens, lambda t: bool(_BYTE_TOKEN.fullmatch(t))):
        joined = "".join(run)
        if is_byte:
            data = bytes(int(code, 16) for code in _BYTE_TOKEN.findall(joined))
            joined = data.decode(errors="replace")
        parts.append(joined)
    return "".join(parts)


def _from_byte_level(text: str) -> str:
    """Return the text that the stand-in letters of byte-level BPE spell."""
    table = _byte_level_table()
    if not all(character in table for character in text):
        return text
    return bytes(table[character] for character in text).decode(errors="replace")


@cache
def _byte_level_table() -> dict[str, int]:
    """Return the byte of each stand-in: visible Latin-1 for itself, then U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): byte for byte in visible}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(hidden)}
