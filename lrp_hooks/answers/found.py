"""What a method has found of an answer: rows of a matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..results.ledger import Ledger

__all__ = ["Found"]


@dataclass(frozen=True, eq=False)
class Found:
    """The scores of A spans over S sources.

    Attributes:
        scores: ``[A, S]``.
        output: ``[A]``.
        token_scores: ``[A, N]``, if tokens have scores.
        ledger: Where the rest of the output came from, if that is known.
        meta: How it was done.
        beside: ``{input: [A, ...]}`` of what stands beside the prompt's text.
    """

    scores: Tensor
    output: Tensor
    token_scores: Tensor | None = None
    ledger: Ledger | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Tensor] = field(default_factory=dict)
