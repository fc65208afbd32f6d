"""Which part of a text each of its tokens stands for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary, ref

from ..support import marks
from .encoding import Encoded

__all__ = ["pieces", "pieces_of_each", "vocabulary_mark"]

Span = tuple[int, int] | None
"""Where a token begins and ends in a text; ``None`` for one that was added."""

_MARKS: WeakKeyDictionary[Any, tuple[object, int, str | None]] = WeakKeyDictionary()
_SPACE = re.compile(r"\s")
_DROPPED_WORD = re.compile(r"\S+(?=\s)")


def vocabulary_mark(tokenizer: Any) -> str | None:
    """Tell by which mark a tokenizer says that tokens are parts of words.

    Args:
        tokenizer: A Hugging Face tokenizer.

    Returns:
        What `lrp_hooks.support.marks.subword_mark` says of its vocabulary.
    """
    try:
        hash(ref(tokenizer))
        size = len(tokenizer)
    except TypeError:  # cannot be remembered, or does not tell when it grows
        return marks.subword_mark(tokenizer.get_vocab())
    # A vocabulary may have a million tokens, and get some more or become another.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known = _MARKS.get(tokenizer)
    if known is not None and known[0] is backend and known[1] == size:
        return known[2]
    mark = marks.subword_mark(tokenizer.get_vocab())
    _MARKS[tokenizer] = (backend, size, mark)
    return mark


def pieces_of_each(encoded: Encoded, mark: str | None) -> list[list[str]]:
    """Tell what the tokens of a batch stand for.

    Args:
        encoded: A batch with its tokens.
        mark: The tokenizer's, see `vocabulary_mark`.

    Returns:
        For each example what `pieces` returns or, where no texts are known, what marks
        spell.
    """
    rows = zip(encoded.tokens, encoded.special, strict=True)
    if encoded.texts is None:
        return [marks.pieces(names, special, mark) for names, special in rows]
    known = zip(encoded.encodings, encoded.texts, rows, strict=True)
    return [
        pieces(made, [text] if isinstance(text, str) else text, names, special, mark)
        for made, text, (names, special) in known
    ]


def pieces(
    encoding: Any,
    texts: Sequence[str],
    tokens: Sequence[str],
    special: Sequence[bool],
    mark: str | None,
) -> list[str]:
    """Cut texts at their tokens.

    Args:
        encoding: What a Hugging Face tokenizer made of the texts. If it has offsets
            (those of fast tokenizers do), these say where tokens are; else each is
            looked for in the text, and marks are what is left where it is not found.
        texts: One text, or the two of a pair.
        tokens: The names of all tokens.
        special: Which of them are special.
        mark: The tokenizer's, see `vocabulary_mark`.

    Returns:
        A text for each token, white space and what the tokenizer dropped included:
        they are the texts, cut. The second text of a pair begins a line of its own.
    """
    text = "\n".join(texts)
    spelled = marks.pieces(tokens, special, mark)
    if "".join(spelled) == text:
        return spelled
    spans = _offsets(encoding, texts) or _sought(text, spelled, special)
    return spelled if spans is None else _cut(text, spans, spelled)


def _offsets(encoding: Any, texts: Sequence[str]) -> list[Span] | None:
    """Return where the tokenizer says that tokens are in the joined texts."""
    found = getattr(encoding, "encodings", None)
    if not found:
        return None
    begins = (0, len(texts[0]) + 1)
    rows = zip(found[0].offsets, found[0].sequence_ids, strict=True)
    return [
        None if which is None else (start + begins[which], stop + begins[which])
        for (start, stop), which in rows
    ]


def _sought(
    text: str, spelled: Sequence[str], special: Sequence[bool]
) -> list[Span] | None:
    """Return where tokens stand in a text, or ``None`` if it has other letters."""
    for fold in (str, str.lower):
        folded = fold(text)
        inks = [fold(piece).strip() for piece in spelled]
        if len(folded) == len(text):
            spans = _walked(folded, inks, special)
            if spans is not None:
                return spans
    return None


def _walked(
    text: str, inks: Sequence[str], special: Sequence[bool]
) -> list[Span] | None:
    """Return where inks follow each other, with no more than white space between."""
    spans: list[Span] = []
    at = 0
    for ink, alone in zip(inks, special, strict=True):
        start = text.find(ink, at)
        if start < 0 or text[at:start].strip():
            return None
        spans.append(None if alone else (start, start + len(ink)))
        at = start + len(ink)
    return spans


def _cut(text: str, spans: Sequence[Span], spelled: Sequence[str]) -> list[str]:
    """Return the stretch of text of each token."""
    found = [""] * len(spans)
    placed = [t for t, span in enumerate(spans) if span is not None]
    runs = [(span, list(run)) for span, run in groupby(placed, lambda t: spans[t])]
    starts = [span[0] for span, _ in runs if span is not None]
    last, at = None, 0
    for (span, run), following in zip(runs, [*starts[1:], None], strict=False):
        assert span is not None
        start, stop = max(span[0], at), _behind_marks(text, max(*span, at))
        if spelled[run[0]].isspace() and span[0] == following:
            stop = start  # white space that was added, at the place of a letter
        touching, gap = _parted(text[at:start], last is not None)
        if last is not None:
            found[last] += touching
        first, *others = _shared(text[start:stop], [spelled[t] for t in run])
        for t, share in zip(run, [gap + first, *others], strict=True):
            found[t] = share
        last, at = run[-1], stop
    if last is not None:
        touching, gap = _parted(text[at:] + " ", True)
        found[last] += touching + gap[:-1]
    return found


def _behind_marks(text: str, at: int) -> int:
    """Return where the marks of the letter before a place end: they are part of it."""
    while 0 < at < len(text) and unicodedata.combining(text[at]):
        at += 1
    return at


def _parted(gap: str, follows: bool) -> tuple[str, str]:
    """Return what of a gap belongs to the token before it, and what to the next one.

    A tokenizer may drop characters. They belong to the token that they touch; words of
    which it has left nothing belong to none.
    """
    touching = len(gap) if follows else 0
    if follows and (space := _SPACE.search(gap)):
        touching = space.start()
    return gap[:touching], _DROPPED_WORD.sub("", gap[touching:])


def _shared(text: str, spelled: Sequence[str]) -> list[str]:
    """Return the shares of tokens with the same span, such as a run of byte tokens."""
    for fold in (str, _composed) if len(spelled) > 1 else ():
        shares, at = [], 0
        for piece in spelled:
            ends = range(at, len(text) + 1)
            stop = next((end for end in ends if fold(text[at:end]) == piece), None)
            if stop is None:
                break
            shares.append(text[at:stop])
            at = stop
        if len(shares) == len(spelled) and at == len(text):
            return shares
    return [text, *[""] * (len(spelled) - 1)]


def _composed(text: str) -> str:
    """Return a text as many tokenizers read it: letters and their marks as one."""
    return unicodedata.normalize("NFKC", text)
