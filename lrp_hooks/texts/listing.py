"""Anything one-dimensional as a list: what pandas, numpy, pyarrow and datasets hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any

from torch import Tensor

__all__ = ["as_list", "is_missing"]


def as_list(values: object) -> list[Any] | None:
    """Take the entries out of a series, an array, a column or a sequence.

    Args:
        values: What a caller has.

    Returns:
        Its entries in order; None for a tensor, and for what is no sequence or has
        more than one dimension.
    """
    if isinstance(values, (str, bytes, bytearray, Mapping, Set, Tensor)):
        return None
    if hasattr(values, "to_pylist"):  # entries of pyarrow's arrays are wrapped
        found: list[Any] = values.to_pylist()
        return found
    ordered = all(hasattr(values, name) for name in ("__len__", "__getitem__"))
    # Iterating over a table gives the names of its columns.
    table = hasattr(values, "columns") or hasattr(values, "column_names")
    if not ordered or table or getattr(values, "ndim", 1) != 1:
        return None
    sequence: Any = values
    return list(sequence)


def is_missing(entry: object) -> bool:
    """Tell a gap: what libraries put where a value is missing.

    Args:
        entry: Of a list.

    Returns:
        Whether it is None, NaN or pandas' NA.
    """
    unknown = isinstance(entry, float) and math.isnan(entry)
    return entry is None or unknown or type(entry).__name__ == "NAType"
