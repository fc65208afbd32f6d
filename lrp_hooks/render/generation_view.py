"""What there is to show of a generation: the tokens, and each generated one's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ..generation import GenerationExplanation

__all__ = ["Matrix"]

STRONGEST = 5
"""Tokens that are named with their numbers where there is no room for all."""


class Matrix:
    """The tokens of a text, and for each generated one its row of scores.

    Attributes:
        tokens: All tokens.
        special: Which of them are special.
        prompt: How many are the prompt's.
        targets: What each row explains.
        output: The logits.
        scores: [generated, all] in float64.
        seen: How many tokens stand before each generated one.
        scales: Each row's largest score of an ordinary token, else of any.
    """

    def __init__(self, explanation: GenerationExplanation) -> None:
        """Collect plain numbers and strings, none of them escaped yet.

        Args:
            explanation: What `explain_generation` returned.
        """
        assert isinstance(explanation.scores, Tensor) and explanation.tokens is not None
        self.tokens, self.special = explanation.tokens[0], explanation.special
        self.prompt, self.targets = explanation.prompt, explanation.targets
        self.scores = explanation.scores.detach().cpu().double()
        self.output = explanation.output.detach().cpu().tolist()
        assert explanation.attended is not None
        self.seen: list[int] = explanation.attended.sum(1).tolist()
        self.scales = self._scales()

    def _scales(self) -> list[float]:
        """Return each row's largest score of an ordinary token, else of any."""
        # A special token at the start often takes more than all words together.
        sizes = self.scores.abs().nan_to_num(0.0)
        plain = [c for c, special in enumerate(self.special) if not special]
        largest = sizes[:, plain].amax(1) if plain else sizes.amax(1)
        pairs = zip(largest.tolist(), sizes.amax(1).tolist(), strict=True)
        return [own or every for own, every in pairs]

    def strongest(self, t: int) -> list[tuple[str, float]]:
        """Find the tokens of the largest absolute scores in a row.

        Args:
            t: Which generated token's.

        Returns:
            At most five of them with their scores, the strongest first.
        """
        row = self.scores[t, : self.seen[t]]
        order = row.abs().nan_to_num(0.0).argsort(descending=True, stable=True)
        return [(self.tokens[c], float(row[c])) for c in order[:STRONGEST].tolist()]
