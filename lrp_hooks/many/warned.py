"""What is warned of where work is done, told once where the work was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from ..errors import LrpHooksWarning

__all__ = ["Warned", "tell", "warned"]

Warned = tuple[type[Warning], str]
"""A kind of warning, and what it says."""


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
            found += dict.fromkeys((w.category, str(w.message)) for w in ours)
    for each in caught:
        if each not in ours:
            warnings.warn_explicit(
                each.message, each.category, each.filename, each.lineno
            )


def tell(found: Iterable[Warned]) -> None:
    """Warn of each thing once.

    Args:
        found: What was collected, in any order.
    """
    for kind, message in sorted(set(found), key=lambda each: each[1]):
        warnings.warn(message, kind, stacklevel=3)
