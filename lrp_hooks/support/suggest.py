"""Names as people type them: whatever their case, and close matches of others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "whatever_case"]


def did_you_mean(name: object, known: Iterable[str], n: int = 1) -> str:
    """Suggest names, whatever their case.

    Args:
        name: What came.
        known: The names that exist.
        n: How many to suggest at most. Defaults to 1.

    Returns:
        A sentence with a blank before it; empty where nothing is close.
    """
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    close = difflib.get_close_matches(str(name).casefold(), folded, n=n)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(folded[one]) for one in close)}?"


def whatever_case(name: str, known: Iterable[str]) -> str | None:
    """Find a name as it is, or the only one that differs from it in case alone.

    Args:
        name: What came.
        known: The names that exist.

    Returns:
        The name that exists; None where there is none, or several differ in case.
    """
    same = [one for one in known if one.casefold() == name.casefold()]
    return name if name in same else same[0] if len(same) == 1 else None
