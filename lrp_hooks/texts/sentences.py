"""Texts cut into paragraphs, sentences and words, with where each stands.

No splitter that is still kept up comes without a model or a compiler; what prompts need
is a set of rules: a full stop ends a sentence unless it belongs to an abbreviation, a
number, a list's mark or a name; lines of lists, headings and code stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..support.passages import Passage, stripped

__all__ = ["paragraphs", "sentences", "words"]

# Full stops of scripts that do not need a space behind them.
_FULL = "。！？｡．।॥۔؟።။។"
_CLOSING = "\"'”’»)\\]}」』）】》"
_END = re.compile(rf"[{_FULL}]+[{_CLOSING}]*|[.!?…]+[{_CLOSING}*_]*(?=\s|$)")
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_FENCE = re.compile(r"^[^\S\n]*(```|~~~)")
_OPENS_ITEM = re.compile(
    r"\s*(?:[-*+•–#>|]|\(?\d{1,3}[.):]\s|\(?[A-Za-z][.)]\s|\t|    )"
)
_LIST_MARK = re.compile(r"\s*\(?(?:\d{1,3}|[A-Za-z])\.$")
_LAST_WORD = re.compile(r"[\w.&-]*$")
# What is never the end of a sentence: more must follow.
_LEADING = frozenset(
    "mr mrs ms mx dr prof st sr sra rev hon gen col capt lt sgt sen rep gov pres mt ft "
    "fig figs no nos nr vol vols p pp ch sec eq eqs art cf vs v e.g i.e eg ie viz resp "
    "approx ca al z.b d.h bzw".split()
)
_INITIALS = re.compile(r"(?:[A-Z]\.)+[A-Z]")
# What begins a sentence rather than the rest of a name, behind initials.
_OPENING = frozenset(
    "a an the this that these those he she it we they you i his her its our their my "
    "there here in on at by for from with after before when while if as but and so "
    "then however although since because who what where why how".split()
)
_WRAPPED = 60
"""Characters of a line that was broken for its length, not for its sense."""
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+")


def paragraphs(text: str) -> list[Passage]:
    """Cut a text at its blank lines.

    Args:
        text: Any text.

    Returns:
        Its paragraphs, without the white space around them.
    """
    return _passages(text, _blocks(text))


def sentences(text: str) -> list[Passage]:
    """Cut a text into sentences; items of lists and lines of code count as such.

    Args:
        text: Any text.

    Returns:
        Its sentences, without the white space around them.
    """
    return _passages(text, _sentence_bounds(text))


def words(text: str) -> list[Passage]:
    """Cut a text at white space, and Chinese and Japanese by the character.

    Args:
        text: Any text.

    Returns:
        Its words.
    """
    return [Passage(m.group(), *m.span()) for m in _WORD.finditer(text)]


def _passages(text: str, bounds: Iterator[tuple[int, int]]) -> list[Passage]:
    found = (stripped(text, start, end) for start, end in bounds)
    return [passage for passage in found if passage is not None]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    for blank in _BLANK.finditer(text):
        yield at, blank.start()
        at = blank.end()
    yield at, len(text)


def _sentence_bounds(text: str) -> Iterator[tuple[int, int]]:
    for start, end in _units(text):
        at = start
        for stop in _END.finditer(text, start, end):
            if _ends(text, at, stop, end):
                yield at, stop.end()
                at = stop.end()
        yield at, end


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Return stretches that no sentence reaches out of: wrapped lines are joined."""
    coded = False
    at = start = 0
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line) is not None
        if coded or fence or not line.strip() or not _goes_on(text, start, at, line):
            yield start, at
            start = at
        coded ^= fence
        at += len(line)
    yield start, at


def _goes_on(text: str, start: int, at: int, line: str) -> bool:
    """Tell whether a line belongs to the sentence that the one before it began."""
    before = text[start:at].rstrip()
    if not before or _OPENS_ITEM.match(line):
        return not before
    if before[-1] in ",;" or line.lstrip()[0].islower():
        return True
    return len(before.rpartition("\n")[2]) >= _WRAPPED


def _ends(text: str, start: int, stop: re.Match[str], end: int) -> bool:
    """Tell whether a full stop ends the sentence that begins at ``start``."""
    rest = text[stop.end() : end].lstrip()
    if stop.group()[0] in _FULL or not rest:
        return True
    if rest[0].islower():
        return False
    return stop.group() != "." or _full_stop_ends(text[start : stop.start()], rest)


def _full_stop_ends(before: str, rest: str) -> bool:
    """Tell whether a sentence ends between what stands before and behind its stop."""
    word = _word_before(before)
    if _LIST_MARK.fullmatch(before + ".") or word.lower() in _LEADING:
        return False
    if len(word) == 1:
        return not word.isupper()  # J. Smith
    if not _INITIALS.fullmatch(word):
        return True
    following = _WORD.match(rest)
    return following is not None and following.group().lower() in _OPENING


def _word_before(text: str) -> str:
    found = _LAST_WORD.search(text)
    return found.group() if found else ""
