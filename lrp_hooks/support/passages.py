"""A stretch of a text that stands for itself."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Passage", "stripped"]


class Passage(NamedTuple):
    """Where a part of a text stands.

    Attributes:
        text: The part.
        start: Its first character's number.
        end: That of the character behind it.
    """

    text: str
    start: int
    end: int


def stripped(text: str, start: int, end: int) -> Passage | None:
    """Cut a passage, without the white space around it.

    Args:
        text: The whole text.
        start: Where it begins.
        end: Where it ends.

    Returns:
        The passage; None if it is blank.
    """
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    part = part.strip()
    return Passage(part, start, start + len(part)) if part else None
