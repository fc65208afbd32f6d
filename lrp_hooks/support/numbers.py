"""What counts as a number."""

from __future__ import annotations

__all__ = ["is_whole"]


def is_whole(number: object) -> bool:
    """Tell whether an argument is a whole number.

    Args:
        number: What came.

    Returns:
        False for booleans, too.
    """
    return hasattr(number, "__index__") and not isinstance(number, bool)
