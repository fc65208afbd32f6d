"""A generation: the tokens, and each generated one's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

__all__ = ["Matrix"]

STRONGEST = 5
"""Tokens that are named with their numbers where there is no room for all."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """The tokens of a text, and for each generated one its row of scores.

    Attributes:
        method: The explainer's name, with its rule set.
        model: The name of the model's class, if known.
        rivals: What tokens are explained rather than, each named once.
        tokens: All tokens.
        special: Which of them are special.
        breaks: How many line breaks of the text stand before each.
        encoder: How many are an encoder's, which stand first.
        prompt: How many are the prompt's.
        targets: What each row explains.
        told: The same as it is read: the text of tokens.
        output: The logits.
        scores: [generated, all] in float64.
        seen: How many tokens stand before each generated one.
        inputs: What all tokens have of each logit.
        constants: What constants have of each logit; None where there are none.
        spelled: The text of each token, where marks hide it; empty where none do.
        grid: The first column, the rows and the columns of a picture, or of a sound;
            None where there is none.
    """

    method: str
    model: str
    rivals: Sequence[str]
    tokens: Sequence[str]
    special: Sequence[bool]
    breaks: Sequence[int]
    encoder: int
    prompt: int
    targets: Sequence[str]
    told: Sequence[str]
    output: Sequence[float]
    scores: Tensor
    seen: Sequence[int]
    inputs: Sequence[float]
    constants: Sequence[float] | None
    spelled: Sequence[str] = ()
    grid: tuple[int, ...] | None = None

    @property
    def texts(self) -> Sequence[str]:
        """The tokens as they are read where no page shows them as they are."""
        return self.spelled or self.tokens

    @cached_property
    def scales(self) -> list[float]:
        """Each row's largest score of an ordinary token, else of any."""
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
        return [(self.tokens[c], score) for c, score in self.largest(t)]

    def largest(self, t: int) -> list[tuple[int, float]]:
        """Find the columns of the largest absolute scores in a row.

        Args:
            t: Which generated token's.

        Returns:
            At most five of them with their scores, the strongest first.
        """
        row = self.scores[t, : self.seen[t]]
        order = row.abs().nan_to_num(0.0).argsort(descending=True, stable=True)
        return [(c, float(row[c])) for c in order[:STRONGEST].tolist()]
