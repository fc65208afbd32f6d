"""Seeds that torch takes."""

from __future__ import annotations

import operator

from ..errors import ArgumentError

__all__ = ["check_seed"]

_LEAST, _MOST = -(2**63), 2**64 - 1


def check_seed(seed: object) -> int:
    """Refuse what seeds no generator.

    Args:
        seed: What came.

    Returns:
        The same as a number of Python's own.

    Raises:
        ArgumentError: If it is no whole number of 64 bits.
    """
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        number = _MOST + 1
    if isinstance(seed, bool) or not _LEAST <= number <= _MOST:
        raise ArgumentError(
            f"seed={seed!r} must be a whole number from -2**63 to 2**64 - 1."
        )
    return number
