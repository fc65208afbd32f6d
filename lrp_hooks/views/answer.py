"""An answer: its spans, and what each drew on in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..support.passages import Passage

__all__ = ["STRONGEST", "Cited"]

STRONGEST = 3
"""Sources that are quoted beside a span."""


@dataclass(frozen=True)
class Cited:
    """What there is to show of an answer.

    Attributes:
        method: What explained, with its rule set.
        model: The name of the model's class, if known.
        prompt: The prompt as the model read it.
        answer: The answer.
        sources: S passages of the prompt.
        spans: A passages of the answer.
        scores: ``[A][S]``.
        outputs: What is explained of each span.
        terms: Of each span what the rest of the output came from, by name; None where
            the method does not say.
    """

    method: str
    model: str
    prompt: str
    answer: str
    sources: Sequence[Passage]
    spans: Sequence[Passage]
    scores: Sequence[Sequence[float]]
    outputs: Sequence[float]
    terms: Sequence[Sequence[tuple[str, float]]] | None

    @property
    def scales(self) -> list[float]:
        """The largest absolute score of each span."""
        return [max(map(abs, row), default=0.0) for row in self.scores]

    def strongest(self, a: int, k: int = STRONGEST) -> list[tuple[int, float]]:
        """Find what speaks for a span most.

        Args:
            a: Which span.
            k: How many sources.

        Returns:
            Their numbers with their scores, the largest first.
        """
        order = sorted(enumerate(self.scores[a]), key=lambda pair: -pair[1])
        return order[:k]
