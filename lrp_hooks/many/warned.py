"""What is warned of where work is done, told once where the work was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from ..errors import LrpHooksWarning, UnknownTokensWarning

__all__ = ["Warned", "note", "tell", "warned"]

Warned = tuple[type[Warning], str]
"""A kind of warning, and what it says."""
MOST = 20
"""Things that are told; a data set of any size warns of no more."""
UNKNOWN = (
    "more than half of the tokens of some texts are unknown to the tokenizer: the "
    "model has not read them."
)


@contextmanager
def warned() -> Generator[list[Warned]]:
    """Collect what this library warns of; other warnings are passed on.

    Yields:
        A list that is filled at the end.
    """
    found: list[Warned] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield found
        finally:
            ours = [w for w in caught if issubclass(w.category, LrpHooksWarning)]
            found += dict.fromkeys((w.category, _said(w)) for w in ours)
    for each in caught:
        if each not in ours:
            place = (each.filename, each.lineno)
            warnings.warn_explicit(each.message, each.category, *place)


def _said(caught: warnings.WarningMessage) -> str:
    """Return what is said; the number of a text in a batch tells nobody anything."""
    unknown = issubclass(caught.category, UnknownTokensWarning)
    return UNKNOWN if unknown else str(caught.message)


def note(told: set[Warned], found: Iterable[Warned]) -> None:
    """Add what is to be told, as far as there is not too much of it.

    Args:
        told: What is told already.
        found: What came.
    """
    for each in found:
        if len(told) < MOST:
            told.add(each)


def tell(found: Iterable[Warned]) -> None:
    """Warn of each thing once.

    Args:
        found: What was collected, in any order.
    """
    for kind, message in sorted(set(found), key=lambda each: each[1]):
        warnings.warn(message, kind, stacklevel=3)
