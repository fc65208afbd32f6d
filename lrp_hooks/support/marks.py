"""What tokens stand for, read from the marks that tokenizers leave on them."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import groupby

__all__ = ["looks_special", "pieces", "spelled", "subword_mark"]

WORDPIECE, SENTENCEPIECE, BYTE_LEVEL = "##", "▁", "Ġ"
END_OF_WORD, GOES_ON, LITERAL, BYTES = "</w>", "@@", " ", "bytes"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_BYTE_LEVEL_SPACE = re.compile("[\u0100-\u0120]")
# What tokens look like whose mark is not their first letter. Byte-level vocabularies
# write line breaks and tabs as the letters Ċ, ĉ and č, often behind a sign.
_MARKED = re.compile(
    r"(?P<wordpiece>##.+)|(?P<end>.*</w>)|(?P<goes_on>.+@@)|(?P<literal> .*|.* )"
    r"|(?P<byte>.{0,4}[Ċĉč]+)|(?P<code><0x[0-9A-F]{2}>)",
    re.DOTALL,
)
_BY_LOOK = {
    "wordpiece": WORDPIECE,
    "end": END_OF_WORD,
    "goes_on": GOES_ON,
    "literal": LITERAL,
    "byte": BYTE_LEVEL,
    "code": SENTENCEPIECE,
}
# A vocabulary of characters has private ones for what others write in brackets.
_SPECIAL = re.compile(r"\[[A-Z]+\d*\]|(?!</w>)</?[a-z]+>|<\|[^|]+\|>|[\ue000-\uf8ff]")

Part = str | bytes
"""What a token stands for: a text or, where it may be a part of a character, bytes."""


def looks_special(token: str) -> bool:
    """Tell special tokens by their look.

    Args:
        token: Any token.

    Returns:
        Whether it looks like ``[SEP]``, ``</s>`` or ``<|endoftext|>``.
    """
    return _SPECIAL.fullmatch(token) is not None


def subword_mark(tokens: Iterable[str]) -> str | None:
    """Tell by which mark these tokens say that they are parts of words.

    Args:
        tokens: Tokens of a text or, which is surer, a whole vocabulary.

    Returns:
        ``"##"`` (WordPiece), ``"▁"`` (SentencePiece), ``"Ġ"`` (byte-level BPE),
        ``"</w>"`` (behind the end of a word), ``"@@"`` (behind what goes on), ``" "``
        (white space stands for itself), ``"bytes"`` (so do bytes, written as the
        letters of their numbers), or ``None`` where no token has a mark, and so each is
        a word.
    """
    known = tokens if isinstance(tokens, Collection) else list(tokens)
    # Where white space is a token, a single letter that looks like a mark is a letter.
    least = 2 if LITERAL in known else 1
    counts = Counter(_mark(token) for token in known if len(token) >= least)
    del counts[None]
    if counts:
        return counts.most_common(1)[0][0]
    if least == 1:
        return None
    letters = [token for token in known if len(token) == 1]
    # No text has these control characters, but many letters have such bytes.
    is_bytes = max(letters) <= "\xff" and any("\x80" <= x <= "\x9f" for x in letters)
    return BYTES if is_bytes else LITERAL


def _mark(token: str) -> str | None:
    """Return the mark on a token."""
    if token.startswith((BYTE_LEVEL, SENTENCEPIECE)):
        return token[0]
    found = _MARKED.fullmatch(token)
    return found and found.lastgroup and _BY_LOOK[found.lastgroup]


def pieces(
    tokens: Sequence[str], special: Sequence[bool], mark: str | None
) -> list[str]:
    """Spell the text that each token stands for.

    Args:
        tokens: The tokens of a text.
        special: Which of them are special: these stand for no text.
        mark: What `subword_mark` returned. Tokens without one are words.

    Returns:
        A text for each token, with the white space before it. A character that is
        spread over several tokens belongs to the first.
    """
    read = _READERS.get(mark, _words)
    found: list[str] = []
    for alone, run in groupby(zip(tokens, special, strict=True), lambda pair: pair[1]):
        names = [name for name, _ in run]
        found += [""] * len(names) if alone else _decoded(read(names))
    return found


def spelled(
    tokens: Sequence[str],
    mark: str | None,
    texts: Sequence[str] | None = None,
    special: Sequence[bool] | None = None,
) -> list[str]:
    """Write tokens for people: the text that each stands for, not its marks.

    Args:
        tokens: The tokens.
        mark: What `subword_mark` returned. Tokens without one, and those of WordPiece,
            whose ``##`` is read as it is, stay as they are.
        texts: What each stands for. Defaults to ``None``: what the mark says of each by
            itself.
        special: Which of them are special; by their look if not given.

    Returns:
        A text for each token: special ones as they are, white space alone as ``␣``,
        and what goes on with a character that another token began as ``…``.
    """
    if mark in {None, WORDPIECE}:
        return list(tokens)
    alone = list(map(looks_special, tokens)) if special is None else special
    if texts is None:
        given = zip(tokens, alone, strict=True)
        texts = [pieces([token], [flag], mark)[0] for token, flag in given]
    rows = zip(tokens, texts, alone, strict=True)
    return [token if flag else _inked(token, text) for token, text, flag in rows]


def _inked(token: str, text: str) -> str:
    """Return a token as it is to be read."""
    if "\N{REPLACEMENT CHARACTER}" in text:
        return token  # a part of a character
    return text.strip(" ") or "␣" * len(text) or "…"


def _decoded(parts: Sequence[Part]) -> list[str]:
    """Return parts as texts, each character at the part in which it begins."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = [""] * len(parts)
    begun = 0
    for t, part in enumerate([*parts, ""]):
        is_open = bool(decoder.getstate()[0])
        ends = isinstance(part, str)
        text = decoder.decode(b"" if isinstance(part, str) else part, ends)
        if is_open and text:
            found[begun] += text[0]
        if t == len(parts):
            break
        found[t] = part if isinstance(part, str) else text[is_open:]
        if text or not is_open:
            begun = t
    return found


def _words(tokens: Sequence[str]) -> list[Part]:
    return [f" {token}" for token in tokens]


def _word_piece(tokens: Sequence[str]) -> list[Part]:
    return [
        token[2:] if token.startswith(WORDPIECE) and token != WORDPIECE else f" {token}"
        for token in tokens
    ]


def _sentence_piece(tokens: Sequence[str]) -> list[Part]:
    return [
        bytes.fromhex(code[1])
        if (code := _BYTE_TOKEN.fullmatch(token))
        else token.replace(SENTENCEPIECE, " ")
        for token in tokens
    ]


def _byte_level(tokens: Sequence[str]) -> list[Part]:
    table = _byte_level_table()
    return [
        bytes(table[letter] for letter in token)
        if all(letter in table for letter in token)
        else token
        for token in tokens
    ]


def _literal(tokens: Sequence[str]) -> list[Part]:
    return list(tokens)


def _bytes(tokens: Sequence[str]) -> list[Part]:
    return [
        token.encode("latin-1") if len(token) == 1 and token <= "\xff" else token
        for token in tokens
    ]


def _by_ends(tokens: Sequence[str], mark: str, ends: bool) -> list[Part]:
    """Return the parts of words whose mark stands behind a token.

    Args:
        tokens: The tokens of a text.
        mark: What stands behind some of them.
        ends: Whether it ends a word, or says that the word goes on.
    """
    inks = _letters_or_bytes([token.removesuffix(mark) for token in tokens])
    begins = [True, *(token.endswith(mark) == ends for token in tokens)]
    return [
        (" " + ink if isinstance(ink, str) else b" " + ink) if begin else ink
        for ink, begin in zip(inks, begins, strict=False)
    ]


def _letters_or_bytes(inks: Sequence[str]) -> list[Part]:
    """Return words without white space, which some vocabularies write byte by byte."""
    if not _BYTE_LEVEL_SPACE.search("".join(inks)):
        with suppress(UnicodeError):
            return _as_utf8(_byte_level(inks))
    return list(inks)


def _as_utf8(parts: Sequence[Part]) -> list[Part]:
    """Return parts as they are, unless they are no valid UTF-8 together."""
    data = b"".join(p if isinstance(p, bytes) else b"\xff" for p in parts)
    codecs.utf_8_decode(data, "strict", False)
    return list(parts)


_READERS: dict[str | None, Callable[[Sequence[str]], list[Part]]] = {
    WORDPIECE: _word_piece,
    SENTENCEPIECE: _sentence_piece,
    BYTE_LEVEL: _byte_level,
    END_OF_WORD: partial(_by_ends, mark=END_OF_WORD, ends=True),
    GOES_ON: partial(_by_ends, mark=GOES_ON, ends=False),
    LITERAL: _literal,
    BYTES: _bytes,
}


@cache
def _byte_level_table() -> dict[str, int]:
    """Return the byte of each stand-in: visible Latin-1 for itself, then U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): byte for byte in visible}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(hidden)}
