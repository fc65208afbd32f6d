"""Explanations: the scores of each example, what was explained, and its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..support.text import decimals

__all__ = ["Account", "Example", "Picture", "Sheet", "Strip", "View"]


@dataclass(frozen=True)
class Strip:
    """A row of tokens with their scores; padding is left out.

    Args:
        name: The tensor that was read, or ``""`` if there is just one.
        tokens: The tokens, or the positions' numbers where tokens are unknown.
        scores: One number for each token.
        special: Is the token a special one?
        breaks: How many line breaks of the text stand before each token.
        spelled: The text of each token, where marks hide it; empty where none do.
    """

    name: str
    tokens: list[str]
    scores: list[float]
    special: list[bool]
    breaks: list[int]
    spelled: Sequence[str] = ()

    @property
    def texts(self) -> Sequence[str]:
        """The tokens as they are read where no page shows them as they are."""
        return self.spelled or self.tokens


@dataclass(frozen=True, eq=False)
class Picture:
    """An image of scores.

    Args:
        name: The tensor that was read, or ``""`` if there is just one.
        scores: ``[H, W]``.
        image: The picture that they explain, bytes ``[H', W', 3]``, if it is known.
        ticks: Moments along the width, evenly spread, of what goes on in time.
    """

    name: str
    scores: Tensor
    image: Tensor | None = None
    ticks: Sequence[str] = ()


@dataclass(frozen=True)
class Account:
    """One example's ledger.

    Args:
        groups: The terms by kind, each a name and a number.
        sources: All sources, each a name and a number.
        total: Inputs and sources together.
        error: The relative part of the output that is not accounted for.
    """

    groups: list[tuple[str, float]]
    sources: list[tuple[str, float]]
    total: float
    error: float


@dataclass(frozen=True)
class Example:
    """One example of the batch.

    Args:
        target: The name of what was explained.
        output: The explained scalar.
        parts: The scores, one part for each tensor that was read.
        account: The ledger, if there is one.
        prediction: What the model says, if that is known.
        delta: The sum of scores less what it should be, where a method integrates.
        spelled: The target as text, where marks of a token hide it.
        rounded: Decimals of the output, where it stands beside others.
    """

    target: str
    output: float
    parts: list[Strip | Picture]
    account: Account | None
    prediction: str = ""
    delta: float | None = None
    spelled: str = ""
    rounded: int | None = None

    @property
    def told(self) -> str:
        """The target as it is read."""
        return self.spelled or self.target

    @property
    def places(self) -> int:
        """How many decimals the output and the terms of the ledger need."""
        if self.rounded is not None:
            return self.rounded
        terms = self.account.groups if self.account else []
        return decimals(max(abs(x) for x in (self.output, *(x for _, x in terms))))


@dataclass(frozen=True)
class View:
    """An explanation, ready to be shown.

    Args:
        method: The explainer's name, with its rule set.
        scale: The score of full colour: the largest absolute one of all examples, but
            for a few outliers of pictures.
        examples: One for each example of the batch.
        beyond: Whether some scores are larger than that.
        of_target: Whether scores are those of the target, rather than of no class.
    """

    method: str
    scale: float
    examples: list[Example]
    beyond: bool = False
    of_target: bool = True

    @property
    def aside(self) -> str:
        """What is to be said beside every target, or ``""``."""
        return "" if self.of_target else "of the output; scores are of no class"


@dataclass(frozen=True)
class Sheet:
    """Explanations below each other, each with its own scale.

    Args:
        views: The explanations.
    """

    views: Sequence[View]
