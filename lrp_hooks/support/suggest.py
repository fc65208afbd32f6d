"""Close matches of a name that does not exist, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


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
