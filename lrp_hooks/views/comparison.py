"""Several methods, or classes, over the same tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .explanation import View

__all__ = ["Price", "SideBySide"]


@dataclass(frozen=True)
class Price:
    """What a method cost.

    Attributes:
        calls: How often the model was called.
        sequences: How many examples it was shown, over all calls.
        seconds: CPU seconds.
    """

    calls: int
    sequences: int
    seconds: float


@dataclass(frozen=True)
class SideBySide:
    """Methods beside each other.

    Attributes:
        views: ``{label: explanation}``.
        agreement: The rank correlation of each label with each, NaN for none.
        costs: ``{label: price}``.
        notes: ``{label: sentence}`` of those that say what they are worth.
        failures: ``{label: reason}`` of those that are left out.
        rows: What a row of the page is: ``"tokens"`` or ``"methods"``.
    """

    views: Mapping[str, View]
    agreement: Sequence[Sequence[float]]
    costs: Mapping[str, Price]
    notes: Mapping[str, str]
    failures: Mapping[str, str]
    rows: str = "tokens"
